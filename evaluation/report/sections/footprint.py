"""Energy and carbon by stage, and the papers' own runs under the same formula (L1 §6, L2 §2.2.1)."""

from evaluation.carbon import REFERENCES, energy_mwh, tco2eq
from evaluation.report.data import ReportData
from evaluation.report.formats import energy, figure, mass, whole
from evaluation.report.markup import Markup, join, tag
from evaluation.report.tables import fold, note, table


def footprint(data: ReportData) -> Markup | None:
    """Hours × watts × PUE × kg per kWh, stage by stage."""
    footprints, carbon = data.footprints(), data.carbon
    if not footprints:
        return None
    rows = [
        (name, f"{figure(one.hours, 3)} {one.unit}-hours", f"{figure(one.watts, 3)} W", energy(one.mwh), mass(one.tco2eq))
        for name, one in footprints.items()
    ]
    total = f"{energy(sum(one.mwh for one in footprints.values()))}, {mass(data.tco2eq())} of CO₂ equivalent"
    known = [
        (
            run.name,
            whole(run.gpu_hours),
            f"{run.watts:.0f} W",
            energy(energy_mwh(run.gpu_hours, run.watts)),
            mass(tco2eq(energy_mwh(run.gpu_hours, run.watts))),
        )
        for run in REFERENCES
    ]
    return join(
        tag("p", total, class_="total"),
        note(
            f"Hours × rated watts × {carbon.pue:g} (PUE) × {carbon.kg_per_kwh:g} kg CO₂eq per kWh. Each stage "
            "counts once, the attempt that made its artifact; attempts that failed, and making the hardware, are not in it."
        ),
        fold("By stage", table(["stage", "#used", "#at", "#energy", "#CO₂eq"], rows)),
        fold("Published runs under the same formula", table(["run", "#GPU-hours", "#at", "#energy", "#CO₂eq"], known)),
    )
