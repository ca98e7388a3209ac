import json
from dataclasses import replace

import numpy as np
import pytest

from keras_parts.errors import ConfigError, DataError
from keras_parts.metrics import (
    PROTOCOLS,
    ContingencyTable,
    Evaluation,
    colour_baseline,
    evaluate,
    needs_train_split,
    nmi,
)


def test_registry_is_complete():
    assert list(PROTOCOLS) == [protocol.name for protocol in PROTOCOLS.values()]
    assert {"cub-foreground", "cub-full-given", "cub-full-model"} <= set(PROTOCOLS)
    for protocol in PROTOCOLS.values():
        assert protocol.specialises in ("", *PROTOCOLS)


def test_all_protocols_that_the_fields_allow(drawn, perfect_maps):
    report = evaluate(perfect_maps, drawn, 3, progress=False)
    assert set(report.results) == {
        f"{where}-{what}"
        for where in ("keypoints", "pixels")
        for what in ("foreground", "full-given", "full-model")
    } | {"masks"}
    assert report.skipped == {}
    assert report.values["pixels-full-model"] == {"NMI": 100, "ARI": 100}
    assert (report.dataset, report.num_parts, report.num_images) == ("drawn", 3, 11)


def test_protocols_without_their_data_are_skipped_with_a_reason(drawn, perfect_maps):
    drawn.samples[:] = [replace(s, part_labels=None, foreground=None) for s in drawn.samples]
    report = evaluate(perfect_maps, drawn, 3, progress=False)
    assert set(report.results) == {"keypoints-foreground", "keypoints-full-model"}
    assert report.skipped["pixels-foreground"] == "part labels, which drawn does not have"
    assert report.skipped["keypoints-full-given"] == "masks, which drawn does not have"
    drawn.samples[:] = [replace(s, keypoints=None, visible=None) for s in drawn.samples]
    with pytest.raises(DataError, match="drawn allows no protocol: .*pixels-foreground needs"):
        evaluate(perfect_maps, drawn, 3, progress=False)


def test_cub_has_its_own_protocols(draw_animals, perfect_maps):
    train = draw_animals(12, 1, name="cub", categories=("Black footed Albatross",))
    test = draw_animals(9, 2, name="cub", categories=("Black footed Albatross",))
    report = evaluate(perfect_maps, test, 3, train=train, progress=False)
    names = [name for name in PROTOCOLS if name.startswith(("cub", "pixels", "masks"))]
    assert list(report.results) == names
    assert "001" in report.values["cub-landmarks-model"]
    without = evaluate(perfect_maps, test, 3, progress=False)
    assert without.skipped["cub-landmarks-given"] == "the train split"


def test_landmarks_are_not_fitted_on_images_they_are_tested_on(draw_animals, perfect_maps):
    test, train = draw_animals(9, name="cub"), draw_animals(14, name="cub")
    report = evaluate(perfect_maps, test, 3, train=train, progress=False)
    assert "9 are in both splits" in report.skipped["cub-landmarks-given"]
    with pytest.raises(DataError, match="9 are in both splits"):
        evaluate(perfect_maps, test, 3, ["cub-landmarks-given"], train=train, progress=False)


def test_only_landmarks_are_fitted_on_the_train_split(draw_animals):
    assert needs_train_split(draw_animals(2, name="cub")) and not needs_train_split(draw_animals(2))
    birds = draw_animals(2, name="cub")
    assert not needs_train_split(birds, ["cub-foreground", "pixels-foreground"])
    assert needs_train_split(birds, ["cub-foreground", "cub-landmarks-model"])
    with pytest.raises(ConfigError, match="'nosuch': choose from cub-foreground"):
        needs_train_split(birds, ["nosuch"])


def test_samples_are_read_and_crops_segmented_once(draw_animals, perfect_maps):
    data = draw_animals(10, name="cub")
    sizes = []

    def maps(images):
        assert len(images) <= 4
        sizes.extend(image.shape[:2] for image in images)
        return perfect_maps(images)

    evaluate(maps, data, 3, progress=False, batch_size=4)
    # Once to measure, and for each protocol once for its needs and once for its label names.
    assert data.reads <= 10 + 2 * len(PROTOCOLS)
    assert sizes.count((20, 36)) == 10 and sizes.count((40, 56)) == 10 and len(sizes) == 20


def test_named_protocols_run_alone_and_agree(drawn, noisy_maps):
    together = evaluate(noisy_maps, drawn, 3, progress=False, batch_size=3)
    alone = evaluate(noisy_maps, drawn, 3, ["pixels-full-given"], progress=False)
    assert set(alone.results) == {"pixels-full-given"}
    assert alone.values["pixels-full-given"] == together.values["pixels-full-given"]
    called = PROTOCOLS["pixels-full-given"](noisy_maps, drawn, 3)
    assert called.values == together.values["pixels-full-given"]
    cub = evaluate(noisy_maps, drawn, 3, ["cub-foreground"], progress=False)
    assert set(cub.values["cub-foreground"]) == {"FG-NMI", "FG-ARI"}


def test_part_shares_are_of_the_objects_pixels(drawn, perfect_maps):
    report = evaluate(perfect_maps, drawn, 3, progress=False)
    assert report.shares == pytest.approx((1 / 3, 1 / 3, 1 / 3))

    def without_part_2(images):
        maps = perfect_maps(images)
        for logits in maps:
            logits[..., 2] = -1
        return maps

    assert evaluate(without_part_2, drawn, 3, progress=False).shares[1] == 0
    drawn.samples[:] = [replace(s, foreground=None) for s in drawn.samples]
    without_masks = evaluate(perfect_maps, drawn, 3, progress=False)
    assert without_masks.shares == pytest.approx((1 / 3, 1 / 3, 1 / 3))

    def foreground_only_in_sum(
        images,
    ):  # each part is less probable than the background, their sum is not
        return [np.broadcast_to(np.log([4, 3, 2, 1]), (*one.shape[:2], 4)) for one in images]

    assert evaluate(foreground_only_in_sum, drawn, 3, progress=False).shares == (1, 0, 0)


def test_invalid_arguments_are_refused(drawn, perfect_maps):
    with pytest.raises(ConfigError, match="'cub': choose from cub-foreground"):
        evaluate(perfect_maps, drawn, 3, ["cub"])
    with pytest.raises(DataError, match="cub-landmarks-given needs the train split"):
        evaluate(perfect_maps, drawn, 3, ["cub-landmarks-given"])
    with pytest.raises(ConfigError, match="at least 1"):
        evaluate(perfect_maps, drawn, 3, batch_size=0)
    drawn.samples.clear()
    with pytest.raises(DataError, match="no images"):
        evaluate(perfect_maps, drawn, 3)


def test_models_are_measured_by_their_logits(drawn, perfect_maps):
    class Model:
        has_background = False

        def logits(self, samples):
            return perfect_maps([sample.image for sample in samples])

    report = evaluate(Model(), drawn, 3, progress=False)
    assert report.values["pixels-full-given"] == {"NMI": 100, "ARI": 100}
    assert "background" in report.skipped["pixels-full-model"]
    with pytest.raises(ConfigError, match="int cannot be measured"):
        evaluate(3, drawn, 3)


def test_baselines_need_a_train_split(drawn):
    with pytest.raises(ConfigError, match="fitted on the train split"):
        list(Evaluation(drawn).baselines(["kmeans-colour"], 3))


def test_progress_goes_to_stderr(drawn, perfect_maps, capsys):
    evaluate(perfect_maps, drawn, 3, progress=True)
    captured = capsys.readouterr()
    assert captured.out == "" and "11/11" in captured.err
    evaluate(perfect_maps, drawn, 3, progress=False)
    assert capsys.readouterr().err == ""


def test_json_contains_everything(drawn, noisy_maps):
    report = evaluate(noisy_maps, drawn, 3, progress=False)
    content = json.loads(report.to_json())
    assert content["parts"] == 3 and content["shares"] == list(report.shares)
    assert (content["split"], content["subset"]) == ("", "")
    protocol = content["protocols"]["keypoints-foreground"]
    assert protocol["values"] == report.values["keypoints-foreground"]
    assert 100 * nmi(np.array(protocol["counts"])) == protocol["values"]["FG-NMI"]
    assert protocol["labels"] == ["head", "wing", "tail", "beak"]
    assert sum(protocol["shares"]) == pytest.approx(1)


def rows_of(table, protocol):
    """The lines of the table under a protocol's heading."""
    section = next(part for part in table.split("\n\n") if part.startswith(f"{protocol}:"))
    return section.splitlines()


def test_table_shows_published_numbers_of_the_same_k(draw_animals, noisy_maps):
    data = draw_animals(9, name="cub", categories=("Black footed Albatross",))
    train = draw_animals(20, 3, name="cub", categories=("Black footed Albatross",))

    def with_parts(parts, protocols=None):
        def maps(images):
            logits = noisy_maps(images)
            extra = [np.full((*one.shape[:2], parts - 3), -99, np.float32) for one in logits]
            return [np.concatenate(pair, -1) for pair in zip(logits, extra, strict=True)]

        return evaluate(maps, data, parts, protocols, train=train, progress=False, split="test")

    four = with_parts(4)
    table = four.to_table()
    assert table.startswith("cub, test split, 9 images, K=4\n")
    rows = rows_of(table, "cub-foreground")
    ours = four.values["cub-foreground"]
    assert any(
        row.split()[:4] == ["this", "model", f"{ours['FG-NMI']:.1f}", f"{ours['FG-ARI']:.1f}"]
        for row in rows
    )
    assert any(row.split()[:3] == ["SCOPS", "[1]", "39.1"] for row in rows)
    assert "[1] published on: all 200 classes" in rows
    landmarks = rows_of(table, "cub-landmarks-given")
    midpoint = [row for row in landmarks if "image midpoint" in row]
    # 002 and 003 are not in this data, so nobody's are shown.
    assert len(midpoint) == 2 and "002" not in landmarks[1] and "26.7" not in "".join(landmarks)
    assert "79.0" not in table and "69.9" not in table
    eight = with_parts(8, ["cub-full-model", "pdiscoformer-keypoints"]).to_table()
    assert "39.1" not in eight and "69.9" in "".join(rows_of(eight, "pdiscoformer-keypoints"))
    assert "69.9" not in "".join(rows_of(eight, "cub-full-model"))
    assert "class labels, DINOv2" in eight and "best class accuracy on the test list" in eight
    assert max(map(len, table.splitlines())) < 160
    for split in ("validation", "train", "all", ""):
        other = replace(four, split=split).to_table()
        assert "SCOPS" not in other and "published" not in other
        with pytest.raises(ConfigError, match="cub, test split with K=4"):
            four.to_table(replace(four, split=split))
    part = replace(four, subset="classes=[1]").to_table()
    assert part.startswith("cub, test split (classes=[1]), 9 images, K=4\n")
    assert "SCOPS" not in part and "published" not in part
    partial = replace(four, notes=("this copy lacks birds",), supervision="masks").to_table()
    assert "K=4\nthis copy lacks birds\n" in partial and "SCOPS [1]" in partial
    ours = next(row for row in rows_of(partial, "cub-foreground") if "this model" in row)
    assert ours.split()[-3:] == ["masks", "measured", "here"]


def test_table_shows_baselines(drawn, perfect_maps):
    report = evaluate(perfect_maps, drawn, 3, progress=False)
    maps = colour_baseline(drawn, 3)
    colour = evaluate(maps, drawn, 3, progress=False, method="k-means, Lab colour")
    table = report.to_table(colour)
    row = next(r for r in rows_of(table, "pixels-foreground") if "k-means, Lab" in r)
    assert f"{colour.values['pixels-foreground']['FG-NMI']:.1f}" in row
    assert not any("k-means" in row for row in rows_of(table, "pixels-full-model"))
    assert "Parts of k-means, Lab colour" in table
    with pytest.raises(ConfigError, match="K=2"):
        report.to_table(replace(colour, num_parts=2))


def test_table_names_what_was_not_run(drawn, perfect_maps):
    drawn.samples[:] = [replace(s, part_labels=None) for s in drawn.samples]
    table = evaluate(perfect_maps, drawn, 3, progress=False).to_table()
    assert (
        "Not run: pixels-foreground, pixels-full-given, pixels-full-model need part labels, "
        "which drawn does not have\n"
    ) in table


def test_a_hundred_million_pixels_take_little_memory():
    import tracemalloc

    labels = np.zeros((1000, 1000), np.uint8)
    table = ContingencyTable(256, 17)
    tracemalloc.start()
    for _ in range(100):
        table.update(labels, labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert table.counts[0, 0] == 10**8
    assert peak < 50e6
