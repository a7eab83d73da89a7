"""What a process keeps of the shapes that it has multiplied."""

import subprocess
import sys

import pytest

# Prints MiB in use after a few shapes, and after hundreds more, as the batches of tuning have them.
MANY_SHAPES = """
import ctypes, torch
from model.cpu import choose_products, set_up_cpu
class Report(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks in_use free keep".split()]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Report
torch.set_num_threads(1)
set_up_cpu()
weights = torch.ones(352, 128, requires_grad=True)
for rows in range(100, 500):
    torch.nn.functional.linear(torch.ones(rows, 128), weights).sum().backward()
    if rows in (120, 499):
        print(libc.mallinfo2().in_use // 2**20)
print(choose_products())
"""


def test_products_of_many_shapes_are_not_all_kept():
    found = subprocess.run([sys.executable, "-c", MANY_SHAPES], capture_output=True, text=True)
    if "mallinfo2" in found.stderr:
        pytest.skip("the C library does not tell what is in use")
    few, many, whose = found.stdout.split()
    if whose != "oneDNN":
        pytest.skip("MKL multiplies here, which keeps nothing")
    assert int(many) - int(few) < 60
