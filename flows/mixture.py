"""Clean documents to packed sequences in training order (L1 §2.1, Table 1): `split`, `tokenizer`, `mix`."""

from flows.stages import group_flow

mixture = group_flow("mixture", "Clean documents to a tokenizer and to packed sequences in training order (L1 §2.1, Table 1).")
