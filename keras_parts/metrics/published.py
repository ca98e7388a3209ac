"""Published results, which tables show for the same data set, split, K and protocol.

Values are per cent, as in the papers. NMI and ARI are not comparable across K.
"""

from dataclasses import dataclass

_PAPER = "arXiv 2111.06349"  # Choudhury et al., NeurIPS 2021
_MASKS = "masks"
_SALIENCY = "saliency masks"
_CLASSES = "class labels"
_NONE = "none"
_BEST_CLASSIFIER = "checkpoint of the best class accuracy on the test list"
_BEST_EPOCH = "best epoch chosen on the test list"


@dataclass(frozen=True)
class Published:
    """One published value.

    Attributes:
        method: the method's name.
        dataset: the data set's name as in `keras_parts.data`, such as "cub"; values of one class
            have "pascal_part/dog".
        num_parts: K; None for a method without parts (the image's midpoint), 0 if the source does
            not say: such a value is in no table, because NMI and ARI depend on K.
        protocol: the protocol's name, a key of `keras_parts.metrics.PROTOCOLS`.
        metric: the metric's name in that protocol's result.
        value: in per cent.
        supervision: what the method was trained with besides images of one category.
        source: publication that contains the value.
        note: how the published setting differs from the protocol run here, or "".
        ablation: whether the method is an ablation, a variant with something left out.
        split: name of the split that was measured.

    Example:
        >>> from keras_parts.metrics import published_values
        >>> entry = published_values("cub", 4, "cub-foreground")[0]
        >>> entry.method, entry.metric, entry.value
        ('image midpoint', 'FG-NMI', 0)
    """

    method: str
    dataset: str
    num_parts: int | None
    protocol: str
    metric: str
    value: float
    supervision: str
    source: str
    note: str = ""
    ablation: bool = False
    split: str = "test"


def published_values(
    dataset: str | None = None,
    num_parts: int | None = None,
    protocol: str | None = None,
    *,
    ablations: bool = False,
    split: str | None = None,
) -> list[Published]:
    """Published values for a data set, a split of it, a number of parts and a protocol.

    Args:
        dataset: the data set's name; None for any.
        num_parts: K; values of methods without parts are included too. None for any.
        protocol: the protocol's name; None for any.
        ablations: include ablations, variants of a method with something left out.
        split: the split's name; None for any.

    Returns:
        The values in the order of the papers' tables; empty if none are known.

    Example:
        >>> from keras_parts.metrics import published_values
        >>> [entry.value for entry in published_values("cub", 4, "cub-foreground")
        ...  if entry.method == "SCOPS"]
        [39.1, 17.9]
    """
    return [
        entry
        for entry in PUBLISHED
        if dataset in (None, entry.dataset)
        and (num_parts is None or entry.num_parts in (None, num_parts))
        and protocol in (None, entry.protocol)
        and split in (None, entry.split)
        and (ablations or not entry.ablation)
    ]


def _row(method, dataset, num_parts, protocol, values, supervision, source, **more):
    return [
        Published(method, dataset, num_parts, protocol, metric, value, supervision, source, **more)
        for metric, value in values.items()
    ]


def _cub(method, supervision, errors=(), foreground=(), full=(), source=_PAPER, num_parts=4):
    """A row of the CUB table: landmark errors, FG-NMI and FG-ARI, NMI and ARI."""
    tables = (
        ("cub-landmarks-given", ("001", "002", "003", "all"), errors, ""),
        ("cub-foreground", ("FG-NMI", "FG-ARI"), foreground, ""),
        ("cub-full-given", ("NMI", "ARI"), full, "masks predicted by a supervised network"),
    )
    rows = []
    for protocol, metrics, values, note in tables:
        named = dict(zip(metrics, values, strict=False))
        known = {metric: value for metric, value in named.items() if value is not None}
        note = "; ".join(filter(None, ("all 200 classes", note)))
        rows += _row(method, "cub", num_parts, protocol, known, supervision, source, note=note)
    return rows


def _ablations():
    values = {"full": 49.1, "L_f": 28.7, "L_e": 37.3, "L_v": 41.8, "L_c": 45.2}
    rows = []
    for left_out, value in values.items():
        variant = "ablation table" if left_out == "full" else f"without {left_out}"
        rows += _row(
            f"Choudhury et al., {variant}", "cub", 4, "cub-foreground", {"FG-NMI": value}, _MASKS,
            _PAPER, note="all 200 classes", ablation=True,
        )  # fmt: skip
    return rows


def _deepfashion():
    images = "all 6,922 images of query and gallery"
    rows = []
    for method, foreground, full, supervision in (
        ("SCOPS", (30.7, 27.6), (56.6, 81.4), _SALIENCY),
        ("Choudhury et al.", (44.54, 46.20), (68.10, 90.60), _MASKS),
    ):
        rows += _row(
            method, "deepfashion", 4, "pixels-foreground",
            dict(zip(("FG-NMI", "FG-ARI"), foreground, strict=True)), supervision, _PAPER,
            note=images,
        )  # fmt: skip
        rows += _row(
            method, "deepfashion", 4, "pixels-full-given",
            dict(zip(("NMI", "ARI"), full, strict=True)), supervision, _PAPER,
            note=f"{images}; masks predicted by a supervised network",
        )  # fmt: skip
    return rows


def _pascal():
    classes = "sheep horse cow motorbike aeroplane bus car bicycle dog cat".split()
    nmi = (35.0, 37.4, 35.3, 40.5, 45.1, 38.8, 36.8, 34.8, 46.6, 47.9)
    ari = (59.8, 68.9, 59.7, 64.7, 79.6, 67.6, 72.7, 64.7, 73.6, 75.4)
    rows = []
    for name, *values in zip(classes, nmi, ari, strict=True):
        rows += _row(
            "Choudhury et al.", f"pascal_part/{name}", 4, "pixels-full-given",
            dict(zip(("NMI", "ARI"), values, strict=True)), _MASKS, _PAPER,
            note="the exact protocol is not public",
        )  # fmt: skip
    return rows


def _later():
    """PDiscoFormer, MPAE and DisParQ, each by its own protocol."""
    classes, frozen = f"{_CLASSES}, DINOv2", "DINOv2, frozen"
    seg, ood = "part_imagenet/seg", "part_imagenet/ood_pdiscoformer"
    former, code = "PDiscoFormer (Aniraj et al., 2024)", "its public code, model_zoo.md"
    mpae, mpae_code = "MPAE (Xia et al., 2025)", "arXiv 2507.11985"
    birds = [
        _row(former, "nabirds", num_parts, "pdiscoformer-keypoints", _nmi_and_ari(*values),
             classes, code, note=_BEST_CLASSIFIER)
        for num_parts, *values in ((4, 48.24, 27.73), (8, 60.39, 46.74), (11, 72.04, 63.35))
    ]  # fmt: skip
    rows = (
        _row(former, "cub", 8, "pdiscoformer-keypoints", _nmi_and_ari(69.87, 43.49), classes,
             "arXiv 2407.04538", note=f"all 200 classes; {_BEST_CLASSIFIER}"),
        *birds,
        _row(mpae, "cub", 16, "mpae-keypoints", _nmi_and_ari(79.00, 66.56), frozen, mpae_code,
             note=f"all 200 classes; {_BEST_EPOCH}"),
        _row(mpae, "celeba", 16, "mpae-keypoints", _nmi_and_ari(70.21, 60.33), frozen, mpae_code,
             note=f"MAFL's test list, squashed to 224 x 224 pixels; {_BEST_EPOCH}"),
        _row(mpae, seg, 50, "mpae-pixels", _nmi_and_ari(55.10, 73.52), frozen, mpae_code,
             note=_BEST_EPOCH),
        _row(mpae, ood, 50, "mpae-pixels", _nmi_and_ari(53.65, 74.22), frozen, mpae_code,
             note=_BEST_EPOCH),
        _row("DisParQ (Pardyl et al., 2026)", "cub", 0, "disparq-keypoints",
             {"NMI_m": 44.9, "ARI_m": 29.6}, "DINOv2", "arXiv 2610.09802",
             note="all 200 classes; the number of parts is not known here"),
    )  # fmt: skip
    return [entry for row in rows for entry in row]


def _nmi_and_ari(nmi, ari):
    return {"NMI": nmi, "ARI": ari}


PUBLISHED: tuple[Published, ...] = (
    *_cub("image midpoint", _NONE, (27.3, 26.7, 27.2, 23.5), (0, 0), (0, 0), num_parts=None),
    *_cub("DFF", _NONE, (22.4, 21.6, 22.0, None), (32.4, 14.3), (23.7, 13.1)),
    *_cub("SCOPS", _SALIENCY, (18.3, 17.7, 17.0, 12.6), (39.1, 17.9), (24.4, 7.1)),
    *_cub("Huang & Li", _CLASSES, (15.1, 17.1, 15.7, 11.6), (), (26.1, 13.2)),
    *_cub("k-means on VGG19", _MASKS, (), (34.9, 14.7)),
    *_cub(
        "Choudhury et al., submission", _MASKS, (11.3, 15.0, 10.6, 9.2),
        source=f"{_PAPER}, submitted version",
    ),
    *_cub(
        "Choudhury et al., released weights", _MASKS, (), (46.03, 21.65), (43.52, 19.58),
        source=f"{_PAPER}, public weights",
    ),
    *_ablations(),
    *_deepfashion(),
    *_pascal(),
    *_later(),
)  # fmt: skip
