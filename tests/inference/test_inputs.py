import codecs
import os
from pathlib import Path

import pytest

from keras_parts.errors import ConfigError, DataError
from keras_parts.inference import find_images
from keras_parts.inference.inputs import select_shard


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Create empty files in a temporary working folder."""

    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    monkeypatch.chdir(tmp_path)
    return make


def relative(files):
    return [file.relative for file in files]


def test_folder_is_read_recursively_in_natural_order(tree):
    tree("in/img10.jpg", "in/img2.JPG", "in/sub/a.png", "in/Bee.png", "in/ant.webp", "in/notes.txt")
    files = find_images(["in"])
    assert relative(files) == ["ant.webp", "Bee.png", "img2.JPG", "img10.jpg", "sub/a.png"]
    assert all(os.path.isfile(file.path) for file in files)


def test_same_name_in_two_folders_stays_apart(tree):
    tree("2020/x.jpg", "2021/x.jpg")
    files = find_images(["2020", "2021"])
    assert [file.result for file in files] == ["2020/x", "2021/x"]
    assert relative(find_images(["2020/x.jpg", "2021/x.jpg"])) == ["2020/x.jpg", "2021/x.jpg"]


def test_order_of_the_arguments_does_not_matter(tree):
    tree("a/1.jpg", "a/2.jpg", "b/1.jpg")
    assert find_images(["a", "b"]) == find_images(["b", "a/2.jpg", "a/1.jpg"])


def test_everything_is_found_once(tree):
    root = tree("a/b/1.jpg", "a/2.jpg")
    for paths in (["a", "a/b"], ["a/b", "a"], ["a", "a/2.jpg", "./a/../a"], ["a", root / "a"]):
        assert relative(find_images(paths)) == ["2.jpg", "b/1.jpg"], paths


def test_hidden_files_are_skipped_unless_named(tree):
    tree("a/.hidden.jpg", "a/.git/1.jpg", "a/1.jpg")
    assert relative(find_images(["a"])) == ["1.jpg"]
    assert relative(find_images(["a/.hidden.jpg"])) == [".hidden.jpg"]
    assert relative(find_images(["a/**/*"])) == ["1.jpg"]


def test_a_named_file_is_taken_whatever_its_suffix(tree):
    tree("a/scan.dat")
    assert relative(find_images(["a/scan.dat"])) == ["scan.dat"]
    assert find_images(["a"]) == []


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("in/*.jpg", ["1.jpg"]),
        ("in/*", ["1.jpg", "2.png", "deep/3.jpg", "deep/er/4.jpg"]),
        ("in/**/*.jpg", ["1.jpg", "deep/3.jpg", "deep/er/4.jpg"]),
        ("in/**", ["1.jpg", "2.png", "deep/3.jpg", "deep/er/4.jpg"]),
        ("in/de?p/*.jpg", ["deep/3.jpg"]),
        ("in/[0-9].jpg", ["1.jpg"]),
        ("in/**/er/*", ["deep/er/4.jpg"]),
        ("*/1.jpg", ["in/1.jpg"]),
        ("in/*.gif", []),
    ],
)
def test_patterns(tree, pattern, found):
    tree("in/1.jpg", "in/2.png", "in/deep/3.jpg", "in/deep/er/4.jpg", "other/5.jpg")
    assert relative(find_images([pattern])) == found


def test_a_pattern_does_not_hide_files_from_the_next(tree):
    tree("in/deep/1.jpg", "in/deep/2.png")
    assert relative(find_images(["in/*/*.jpg", "in/**/*.png"])) == ["deep/1.jpg", "deep/2.png"]
    assert relative(find_images(["in/*/*.jpg", "in"])) == ["deep/1.jpg", "deep/2.png"]


def test_an_existing_path_is_not_a_pattern(tree):
    tree("in/photo[1].jpg", "in/photo1.jpg", "odd*/a.jpg", "oddly/b.jpg")
    assert relative(find_images(["in/photo[1].jpg"])) == ["photo[1].jpg"]
    assert relative(find_images(["odd*"])) == ["a.jpg"]


def test_results_keep_the_suffix_of_images_with_the_same_name(tree):
    tree("in/a.jpg", "in/a.png", "in/b.jpg", "in/c.x.jpg")
    results = [file.result for file in find_images(["in"])]
    assert results == ["a.jpg", "a.png", "b", "c.x"]


def test_result_names_are_unique_when_a_suffix_is_part_of_another_name(tree):
    tree("in/a.jpg", "in/a.png", "in/a.jpg.png")
    results = [file.result for file in find_images(["in"])]
    assert sorted(results) == ["a.jpg", "a.jpg.png", "a.png"]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_symlink_loops_and_folders_linked_twice(tree):
    root = tree("in/1.jpg", "in/sub/2.jpg", "elsewhere/3.jpg")
    (root / "in/loop").symlink_to(root / "in")
    (root / "in/sub/up").symlink_to("..")
    (root / "in/linked").symlink_to(root / "elsewhere")
    (root / "in/again").symlink_to(root / "elsewhere")
    assert relative(find_images(["in"])) == ["1.jpg", "again/3.jpg", "sub/2.jpg"]
    assert relative(find_images(["in/**/*.jpg"])) == ["1.jpg", "again/3.jpg", "sub/2.jpg"]


@pytest.mark.skipif(os.name == "nt", reason="pipes and links")
def test_broken_links_are_kept_and_pipes_skipped(tree):
    root = tree("in/1.jpg")
    (root / "in/gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(root / "in/pipe.jpg")
    assert relative(find_images(["in"])) == ["1.jpg", "gone.jpg"]


def test_excluded_folders_are_not_entered(tree):
    tree("in/1.jpg", "in/out/overlay/1.jpg")
    assert relative(find_images(["in"], exclude=["in/out", "not/there"])) == ["1.jpg"]
    assert relative(find_images(["in/**/*.jpg"], exclude=["in/out"])) == ["1.jpg"]


@pytest.mark.parametrize("path", ["gone.jpg", "in/gone", "nowhere/*.jpg", ""])
def test_missing_paths_are_errors(tree, path):
    tree("in/1.jpg")
    with pytest.raises(DataError, match=path.partition("/*")[0] or "empty"):
        find_images(["in", path])


def test_a_shard_of_thousands_of_digits():
    with pytest.raises(ConfigError, match="expected I/N"):
        select_shard([], f"1/{'9' * 5000}")


def test_strange_names(tree):
    names = ["ü ñ/鳥 1.jpg", "ü ñ/2²x.jpg", "ü ñ/new\nline.jpg", "ü ñ/٣.jpg", "ü ñ/q\"'.jpg"]
    if os.name == "nt":
        names = names[:2]
    tree(*names)
    files = find_images(["ü ñ"])
    assert {file.relative for file in files} == {name.removeprefix("ü ñ/") for name in names}
    assert all(os.path.isfile(file.path) for file in files)


def test_empty_inputs(tree):
    tree("in/readme.md")
    assert find_images(["in"]) == []
    assert find_images([]) == []
    assert find_images(["in/*.jpg"]) == []


def test_lists_of_paths(tree, monkeypatch):
    tree("in/1.jpg", "in/sub/2.jpg", "lists/x.txt")
    Path("lists/x.txt").write_bytes(b"in/sub/2.jpg\r\n\nin/1.jpg\nin/gone.jpg")
    # Listed files are not checked: a missing one fails when it is read.
    assert relative(find_images(["@lists/x.txt"])) == ["1.jpg", "gone.jpg", "sub/2.jpg"]
    with pytest.raises(DataError, match=r"gone\.txt: the list cannot be read"):
        find_images(["@gone.txt"])
    tree("@odd.jpg")
    assert relative(find_images(["@odd.jpg"])) == ["@odd.jpg"]


@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF8 + b"in/1.jpg\r\nin/2.jpg\r\n",
        "in/1.jpg\r\nin/2.jpg".encode("utf-16"),
        codecs.BOM_UTF16_BE + "in/1.jpg\nin/2.jpg\n".encode("utf-16-be"),
        b"in\\1.jpg\r\nin\\2.jpg\r\n",
        b"\"in/1.jpg\"\n'in\\2.jpg'\n",
        b"in/1.jpg \n\tin/2.jpg\n",
        b"# my list\nin/1.jpg\n#\nin/2.jpg\n",
    ],
)
def test_lists_of_other_tools(tree, content):
    (tree("in/1.jpg", "in/2.jpg") / "x.txt").write_bytes(content)
    assert relative(find_images(["@x.txt"])) == ["1.jpg", "2.jpg"]


@pytest.mark.skipif(os.name == "nt", reason="names that Windows does not allow")
def test_lists_take_a_name_as_it_is_written_if_there_is_such_a_file(tree, caplog):
    names = ["#1.jpg", '"2.jpg"', "3.jpg ", "a\\4.jpg"]
    (tree(*names, "a/4.jpg", "2.jpg", "3.jpg") / "x.txt").write_text("\n".join([*names, "# none"]))
    assert sorted(relative(find_images(["@x.txt"]))) == sorted(names)
    assert caplog.messages == ["comments left out of a list: 1 (lines that begin with #)"]


@pytest.mark.parametrize(
    "content",
    [
        "image;label\r\nin/1.jpg;bird\r\nin/2.jpg;bird\r\n".encode("utf-8-sig"),
        "image,label\r\nin/1.jpg,bird\r\nin/2.jpg,bird\r\n".encode("utf-16"),
        b'label\t"Path"\nbird\tin/1.jpg\nbird\tin\\2.jpg\n',
        b"Image,label\nin/1.jpg,bird\nin/2.jpg,bird\n\n,\n",
    ],
)
def test_manifests_of_other_tools(tree, content):
    (tree("in/1.jpg", "in/2.jpg") / "m.csv").write_bytes(content)
    assert relative(find_images(["m.csv"])) == ["1.jpg", "2.jpg"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_manifests(tree, kind):
    root = tree("set/images/1.jpg", "set/images/2.jpg", "set/no.jpg")
    names = ["images/2.jpg", str(root / "set/images/1.jpg"), "images/a,b.jpg"]
    path = root / f"set/m.{kind}"
    if kind == "csv":
        path.write_text(
            '\ufefflabel,path\n1,"images/2.jpg"\n2,' + names[1] + '\n3,"images/a,b.jpg"'
        )
    else:
        arrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(arrow.table({"label": [1, 2, 3], "path": names}), path)
    assert relative(find_images([f"set/m.{kind}"])) == ["1.jpg", "2.jpg", "a,b.jpg"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,label\nx,1\n", "no column of images among name, label; expected"),
        ("", "among none"),
    ],
)
def test_bad_manifests(tree, content, message):
    (tree() / "m.csv").write_text(content)
    with pytest.raises(DataError, match=f"m.csv: .*{message}"):
        find_images(["m.csv"])


def test_a_damaged_parquet_manifest(tree):
    pytest.importorskip("pyarrow")
    (tree() / "m.parquet").write_text("no")
    with pytest.raises(DataError, match="m.parquet: cannot be read as Parquet"):
        find_images(["m.parquet"])


def test_addresses(tree):
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    for name in (
        "a/img10.jpg",
        "a/img2.jpg",
        "a/b/3.png",
        "a/notes.txt",
        "a/.git/4.png",
        "c/5.jpg",
    ):
        store.pipe_file(f"/photos/{name}", name.encode())
    store.pipe_file("/photos/m.csv", b"image\na/img2.jpg\nmemory://photos/c/5.jpg\n")
    try:
        files = find_images(["memory://photos/a"])
        assert relative(files) == ["b/3.png", "img2.jpg", "img10.jpg"]
        assert [file.read() for file in files] == [b"a/b/3.png", b"a/img2.jpg", b"a/img10.jpg"]
        assert files[0].version() == files[0].version() != files[2].version()
        assert relative(find_images(["memory://photos/**/*.jpg"])) == [
            "a/img2.jpg", "a/img10.jpg", "c/5.jpg",
        ]  # fmt: skip
        assert relative(find_images(["memory://photos/a/notes.txt"])) == ["notes.txt"]
        assert relative(find_images(["memory://photos/m.csv"])) == ["a/img2.jpg", "c/5.jpg"]
        found = find_images(["memory://photos"], exclude=["memory://photos/a"])
        assert relative(found) == ["c/5.jpg"]
        with pytest.raises(DataError, match="memory://gone: there is no such"):
            find_images(["memory://gone"])
        with pytest.raises(DataError, match="gone.jpg: cannot be read"):
            files[0].__class__("memory://photos", "gone.jpg", "gone").read()
        tree("local.jpg")
        with pytest.raises(DataError, match="kinds of storage"):
            find_images(["memory://photos/a", "local.jpg"])
    finally:
        store.rm("/photos", recursive=True)


def test_addresses_of_unknown_kinds():
    pytest.importorskip("fsspec")
    with pytest.raises(ConfigError, match="nosuch"):
        find_images(["nosuch://a/b.jpg"])


def test_a_large_file_that_is_no_image_is_refused_before_it_is_read(tree, monkeypatch):
    root = tree()
    with open(root / "big.jpg", "wb") as file:
        file.truncate(2**27)
    monkeypatch.setattr("keras_parts.inference.inputs.read_file", None)
    with pytest.raises(DataError, match="big.jpg: not an image"):
        find_images(["big.jpg"])[0].read()


def test_numbers_of_thousands_of_digits_are_ordered_by_value(tree):
    names = ["9" * 5000, "1" + "0" * 5000]
    tree()
    Path("x.txt").write_text("\n".join(reversed(names)))
    assert relative(find_images(["@x.txt"])) == names
