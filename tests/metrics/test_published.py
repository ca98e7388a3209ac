from keras_parts.metrics import PROTOCOLS, PUBLISHED, published_values


def test_every_entry_belongs_to_a_protocol_and_one_of_its_metrics():
    for entry in PUBLISHED:
        assert entry.metric in PROTOCOLS[entry.protocol].metrics, entry
        assert -50 <= entry.value <= 100
        assert entry.source and entry.supervision


def test_no_value_is_listed_twice():
    keys = [(e.method, e.dataset, e.num_parts, e.protocol, e.metric) for e in PUBLISHED]
    assert len(set(keys)) == len(keys)


def test_filter_selects_one_k():
    found = published_values("cub", 4, "cub-foreground")
    values = {entry.method: entry.value for entry in found if entry.metric == "FG-NMI"}
    assert values == {
        "image midpoint": 0,
        "DFF": 32.4,
        "SCOPS": 39.1,
        "k-means on VGG19": 34.9,
        "Choudhury et al., released weights": 46.03,
    }
    assert {entry.num_parts for entry in published_values("cub", 8)} == {None, 8}
    assert published_values("toy") == []


def test_published_values_are_of_the_test_split():
    assert published_values("cub", 4, split="test") == published_values("cub", 4)
    assert published_values("cub", 4, split="validation") == []


def test_notes_name_the_images_behind_a_value():
    for entry in PUBLISHED:
        if entry.dataset in ("cub", "deepfashion"):
            assert entry.note.startswith("all "), entry


def test_ablations_are_included_only_on_request():
    without = published_values("cub", 4, "cub-foreground")
    with_them = published_values("cub", 4, "cub-foreground", ablations=True)
    assert len(with_them) == len(without) + 5
    assert not any(entry.ablation for entry in without)


def test_unknown_cells_are_absent_not_zero():
    errors = published_values("cub", 4, "cub-landmarks-given")
    dff = {entry.metric: entry.value for entry in errors if entry.method == "DFF"}
    assert dff == {"001": 22.4, "002": 21.6, "003": 22.0}


def test_pascal_has_ten_classes():
    classes = {e.dataset for e in PUBLISHED if e.dataset.startswith("pascal_part/")}
    assert len(classes) == 10
    (dog,) = [e for e in published_values("pascal_part/dog", 4) if e.metric == "NMI"]
    assert dog.value == 46.6


def test_later_methods_stand_beside_their_own_protocol_alone():
    of_method = {"PDiscoFormer": "pdiscoformer-", "MPAE": "mpae-", "DisParQ": "disparq-"}
    found = [entry for entry in PUBLISHED if entry.method.partition(" ")[0] in of_method]
    for entry in found:
        assert entry.protocol.startswith(of_method[entry.method.partition(" ")[0]])
        assert "DINOv2" in entry.supervision and entry.note
    assert len(found) == 18
    birds = published_values("nabirds", 11, "pdiscoformer-keypoints")
    assert [entry.value for entry in birds] == [72.04, 63.35]
    assert published_values("cub", 16, "cub-full-model") == [
        entry for entry in published_values("cub", 4, "cub-full-model") if entry.num_parts is None
    ]
    shown = (
        entry.method for num_parts in range(1, 60) for entry in published_values("cub", num_parts)
    )
    assert not any(method.startswith("DisParQ") for method in shown)
