"""The figures of the paper's tables and of its supplement, measured by its authors: nothing here was measured by us.

Quan, Wu, Ji: Neumann Network with Recursive Kernels for Single Image Defocus Deblurring, CVPR 2023. Figures stand as
they are printed, also where they contradict each other:

- The supplement's Table 1 gives RealDOF's input as 23.890 dB, 0.725, 0.349. That is DPDD's input; Table 1 and the
  supplement's other tables have 22.333 dB, 0.633, 0.524.
- On LFDOF the full network has 30.481 dB in Table 2 and 30.537 dB in the supplement; on RealDOF its LPIPS is 0.338 in
  Table 1 and 0.340 in the supplement.
- Table 3's parameters are headed "Para(M)"; they are plain numbers (60 is 3 taps of 20 atoms), not millions.

Ablations carry their names in `nrknet.config.VARIANTS`; the full network is FullRKR in Table 3, Original in Table 4,
FullLoss in Table 5 and J20 among the atom numbers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Metrics = tuple[float, float, float]
"""PSNR in dB, SSIM, LPIPS."""
Table = Mapping[str, tuple[Metrics, ...]]


@dataclass(frozen=True)
class Score:
    """One method on one data set.

    Attributes:
        table: "1" to "5", "S1" to "S3" in the supplement, or "J", the atom numbers in Sec. 4.3.
        trained_on: "DPDD" or "LFDOF".
        dataset: "DPDD", "RealDOF", "RTF" or "LFDOF", its test photos.
        method: the method, the ablation, or "Input".
        psnr: dB.
        ssim, lpips: from 0 to 1, lower LPIPS is better; None where the paper has only PSNR.
    """

    table: str
    trained_on: str
    dataset: str
    method: str
    psnr: float
    ssim: float | None
    lpips: float | None


@dataclass(frozen=True)
class Cost:
    """What one method costs on a photo of 1280x720 pixels; None where the paper does not say.

    Attributes:
        table: "1", of whole networks; "3", whose numbers and multiply-accumulates are the RKR's alone; or "4".
        method: the method or the ablation.
        parameters: learned numbers.
        macs: multiply-accumulates.
        seconds: to restore the photo, on an RTX 2080 Ti.
    """

    table: str
    method: str
    parameters: float | None
    macs: float | None
    seconds: float


COMPARED = ("DPDNet-S", "AIFNet", "MDP", "KPAC", "IFANet", "GKMNet", "DRBNet")
"""The seven methods that the paper compares itself with."""

_INPUT_DPDD, _INPUT_REALDOF = (23.890, 0.725, 0.349), (22.333, 0.633, 0.524)
_INPUT_RTF, _INPUT_LFDOF = (24.200, 0.717, 0.248), (25.874, 0.777, 0.320)

_TABLE_1: Table = {
    "Input": (_INPUT_DPDD, _INPUT_REALDOF, _INPUT_RTF),
    "DPDNet-S": ((24.348, 0.747, 0.277), (22.870, 0.670, 0.425), (23.608, 0.591, 0.296)),
    "AIFNet": ((24.213, 0.742, 0.309), (23.093, 0.680, 0.413), (24.041, 0.758, 0.289)),
    "MDP": ((25.347, 0.763, 0.268), (23.500, 0.681, 0.444), (24.012, 0.738, 0.312)),
    "KPAC": ((25.221, 0.774, 0.226), (23.975, 0.762, 0.338), (24.618, 0.777, 0.236)),
    "IFANet": ((25.366, 0.789, 0.217), (24.712, 0.748, 0.306), (24.924, 0.801, 0.227)),
    "GKMNet": ((25.468, 0.789, 0.219), (24.257, 0.729, 0.390), (24.972, 0.791, 0.262)),
    "DRBNet": ((25.485, 0.792, 0.254), (24.884, 0.751, 0.376), (24.463, 0.773, 0.311)),
    "NRKNet": ((26.109, 0.810, 0.210), (25.148, 0.768, 0.338), (25.931, 0.829, 0.215)),
}
_TABLE_2: Table = {
    "Input": (_INPUT_LFDOF, _INPUT_RTF),
    "AIFNet": ((29.677, 0.884, 0.202), (27.552, 0.882, 0.176)),
    "MDP": ((28.069, 0.834, 0.185), (25.580, 0.809, 0.228)),
    "KPAC": ((28.942, 0.857, 0.174), (25.959, 0.803, 0.230)),
    "IFANet": ((29.787, 0.872, 0.156), (26.437, 0.838, 0.238)),
    "GKMNet": ((29.081, 0.867, 0.171), (26.989, 0.855, 0.247)),
    "DRBNet": ((30.253, 0.883, 0.147), (26.717, 0.853, 0.200)),
    "NRKNet": ((30.481, 0.884, 0.147), (28.047, 0.889, 0.145)),
}
_TABLE_3: Table = {
    "NonAdaptive": ((25.309, 0.797, 0.255),),
    "NonRecursive": ((25.994, 0.807, 0.218),),
    "NonSeparable": ((26.071, 0.807, 0.221),),
    "FullRKR": ((26.109, 0.810, 0.210),),
}
_TABLE_4: Table = {
    "FullExp": ((26.077, 0.809, 0.230),),
    "2Scales": ((25.894, 0.805, 0.240),),
    "4Scales": ((26.020, 0.806, 0.235),),
    "w/o ConvLSTM": ((24.371, 0.774, 0.267),),
    "Original": ((26.109, 0.810, 0.210),),
}
_TABLE_5: Table = {
    "w/o reblur": ((25.816, 0.804, 0.240),),
    "w/o FDR": ((25.887, 0.805, 0.235),),
    "SingleScaleLoss": ((25.973, 0.806, 0.234),),
    "FullLoss": ((26.109, 0.810, 0.210),),
}
_ATOM_NUMBERS: Mapping[str, float] = {"J15": 25.942, "J18": 26.042, "J20": 26.109, "J22": 26.122, "J25": 26.131}

# The supplement: RealDOF and RTF by the networks trained on DPDD, then LFDOF and RTF by those trained on LFDOF.
_FULL = ((25.148, 0.768, 0.340), (25.931, 0.829, 0.215), (30.537, 0.884, 0.147), (28.047, 0.889, 0.145))
_SUPPLEMENT_1: Table = {
    "Input": (_INPUT_DPDD, _INPUT_RTF, _INPUT_LFDOF, _INPUT_RTF),  # printed so: the first is DPDD's
    "NonAdaptive": ((24.501, 0.756, 0.372), (24.738, 0.807, 0.246), (30.360, 0.881, 0.154), (27.753, 0.883, 0.166)),
    "NonRecursive": ((25.148, 0.768, 0.342), (25.346, 0.817, 0.241), (30.475, 0.883, 0.148), (27.814, 0.885, 0.150)),
    "NonSeparable": ((25.150, 0.769, 0.339), (25.538, 0.825, 0.231), (30.450, 0.883, 0.150), (27.968, 0.888, 0.149)),
    "FullRKR": _FULL,
}
_SUPPLEMENT_2: Table = {
    "Input": (_INPUT_REALDOF, _INPUT_RTF, _INPUT_LFDOF, _INPUT_RTF),
    "FullExp": ((25.149, 0.768, 0.340), (25.569, 0.813, 0.225), (30.517, 0.883, 0.149), (28.028, 0.891, 0.147)),
    "2Scales": ((24.914, 0.755, 0.356), (25.561, 0.812, 0.248), (29.497, 0.864, 0.180), (26.975, 0.848, 0.235)),
    "4Scales": ((25.146, 0.769, 0.361), (25.728, 0.814, 0.247), (30.470, 0.883, 0.149), (27.904, 0.887, 0.149)),
    "w/o ConvLSTM": ((24.679, 0.747, 0.361), (24.725, 0.787, 0.323), (29.053, 0.860, 0.174), (25.223, 0.844, 0.178)),
    "Original": _FULL,
}
_SUPPLEMENT_3: Table = {
    "Input": (_INPUT_REALDOF, _INPUT_RTF, _INPUT_LFDOF, _INPUT_RTF),
    "w/o reblur": ((25.009, 0.758, 0.352), (25.052, 0.812, 0.233), (30.006, 0.880, 0.156), (27.674, 0.885, 0.163)),
    "w/o FDR": ((24.972, 0.764, 0.349), (25.275, 0.819, 0.249), (30.280, 0.873, 0.165), (27.689, 0.875, 0.188)),
    "SingleScaleLoss": ((24.785, 0.749, 0.363), (25.173, 0.797, 0.278), (29.296, 0.861, 0.185), (26.487, 0.832, 0.275)),
    "FullLoss": _FULL,
}

_ON_DPDD = (("DPDD", "DPDD"),)
_BOTH = (("DPDD", "RealDOF"), ("DPDD", "RTF"), ("LFDOF", "LFDOF"), ("LFDOF", "RTF"))


def _scores(table: str, columns: tuple[tuple[str, str], ...], rows: Table) -> Iterator[Score]:
    """The cells of a table; its columns are pairs of (trained on, measured on)."""
    for method, cells in rows.items():
        for (trained_on, dataset), metrics in zip(columns, cells, strict=True):
            yield Score(table, trained_on, dataset, method, *metrics)


SCORES: tuple[Score, ...] = (
    *_scores("1", (("DPDD", "DPDD"), ("DPDD", "RealDOF"), ("DPDD", "RTF")), _TABLE_1),
    *_scores("2", (("LFDOF", "LFDOF"), ("LFDOF", "RTF")), _TABLE_2),
    *_scores("3", _ON_DPDD, _TABLE_3),
    *_scores("4", _ON_DPDD, _TABLE_4),
    *_scores("5", _ON_DPDD, _TABLE_5),
    *(Score("J", "DPDD", "DPDD", method, psnr, None, None) for method, psnr in _ATOM_NUMBERS.items()),
    *_scores("S1", _BOTH, _SUPPLEMENT_1),
    *_scores("S2", _BOTH, _SUPPLEMENT_2),
    *_scores("S3", _BOTH, _SUPPLEMENT_3),
)
"""Every score that the paper and its supplement print."""

COSTS: tuple[Cost, ...] = (
    Cost("1", "DPDNet-S", 32.3e6, 485e9, 0.3),
    Cost("1", "AIFNet", 41.6e6, 985e9, 0.5),
    Cost("1", "MDP", 46.9e6, 1081e9, 0.5),
    Cost("1", "KPAC", 2.1e6, 197e9, 0.1),
    Cost("1", "IFANet", 10.5e6, 363e9, 0.3),
    Cost("1", "GKMNet", 1.4e6, 148e9, 0.2),
    Cost("1", "DRBNet", 11.7e6, 347e9, 0.2),
    Cost("1", "NRKNet", 6.1e6, 553e9, 0.3),
    Cost("3", "NonAdaptive", 9261, 76.81e9, 0.3),
    Cost("3", "NonRecursive", 440, 2.03e9, 0.4),
    Cost("3", "NonSeparable", 12340, 12.99e9, 0.5),
    Cost("3", "FullRKR", 60, 1.60e9, 0.3),
    Cost("4", "FullExp", None, None, 0.4),
    Cost("4", "2Scales", None, None, 0.3),
    Cost("4", "4Scales", None, None, 0.4),
    Cost("4", "w/o ConvLSTM", None, None, 0.3),
    Cost("4", "Original", None, None, 0.3),
)
"""Every count and time that the paper prints."""
