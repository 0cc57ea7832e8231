"""Tables as people have them: read whole, or an error that names the line."""

import pytest

from intr_nb.data.image_folders import ImageFolders
from intr_nb.data.table_reader import _read_table
from intr_nb.data.transforms import square_transforms


def write_csv(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    "mark, encoding, end", [(",", "utf-8", "\n"), (";", "utf-8-sig", "\r\n"), ("\t", "utf-8", "\n")]
)
def test_tables(tree, mark, encoding, end):
    rows = [["path", "species, full", "split", "remark"]] + [
        [
            f"{c}\\{i}.png" if i == 3 else f"{c}/{i}.png",
            f'"Zoë\'s {c}, adult"',
            "val" if i > 7 else "Train",
            '"two\nlines"',
        ]
        for c in ("robin", "wren")
        for i in range(10)
    ]
    if mark == ",":
        rows[0][1] = '"species, full"'
    table = write_csv(tree / "list.csv", end.join(mark.join(r) for r in rows), encoding)
    data = ImageFolders.from_csv(table, label="species, full", transforms=square_transforms(8))
    assert (
        data.class_names == ["Zoë's robin, adult", "Zoë's wren, adult"]
        and (len(data.train), len(data.valid)) == (16, 4)
        and len(list(data.train)) == 16
    )
    again = ImageFolders.from_csv(table, label="species, full", split=None, valid=0.5)
    assert (len(again.train), len(again.valid)) == (10, 10)


def test_numbers_are_sorted_as_numbers(tree):
    table = write_csv(
        tree / "list.csv",
        "path,label\n" + "\n".join(f"robin/{i}.png,{i}" for i in range(10)) + "\nwren/1.png,10",
    )
    assert ImageFolders.from_csv(table).class_names == [str(i) for i in range(11)]


@pytest.mark.parametrize(
    "text, words",
    [
        ("file,label\na.png,x", "no column 'path', but 'file', 'label'"),
        ("path,label\na.png,", "line 2: no label"),
        ("path,label,split\na.png,x,holdout", "'holdout'; expected train"),
        ("path,label,split\na.png,x,train\nb.png,y,", "1 lines have no split"),
        ("", "no column 'path'"),
        ("path,label\nrobin/0.png,a\ngone.png,b", "gone.png' .no such file"),
        ("path,label,split\nrobin/0.png,a,test", "none to train with"),
        ("path,label\nrobin/0.png,a\n,\n,b", "line 4: no path"),
        ("path,label\nphotos/robin/0.png,a\nphotos/robin/1.png,b", "root="),
    ],
)
def test_tables_that_are_wrong(tree, text, words):
    with pytest.raises(ValueError, match=words):
        ImageFolders.from_csv(write_csv(tree / "list.csv", text))


def test_a_table_from_a_spreadsheet(tree):
    text = (
        "path, label\n"
        + "\n".join(f"robin/{i}.png,a" for i in range(4))
        + "\n,\n\n"
        + "\n".join(f"wren/{i}.png,b" for i in range(4))
        + "\n,\n"
    )
    data = ImageFolders.from_csv(write_csv(tree / "list.csv", text))
    assert data.class_names == ["a", "b"] and len(data.train) + len(data.valid) == 8


def test_a_table_that_is_none(tree):
    with pytest.raises(FileNotFoundError, match="no table .*Check the path"):
        ImageFolders.from_csv(tree / "lost.csv")
    with pytest.raises(OSError, match=r"folder: read it with ImageFolders\(folder\)"):
        ImageFolders.from_csv(tree)


def test_a_table_in_another_encoding(tree):
    with pytest.raises(ValueError, match="CSV UTF-8"):
        _read_table(write_csv(tree / "list.csv", "path,label\na.png,Zoë", "latin-1"))


BIRDS = [("robin", i) for i in range(4)] + [("wren", i) for i in range(4)]


def rows_of(*labels, header="path,label", more=""):
    "A table of eight birds, with these labels for the first lines"
    given = [*labels, *[c for c, _ in BIRDS[len(labels) :]]]
    return "\n".join([header, *(f"{c}/{i}.png,{label}{more}" for (c, i), label in zip(BIRDS, given))])


@pytest.mark.parametrize(
    "text, words",
    [
        (rows_of("robin", "robin, female"), "line 3: 3 cells for 2 columns.*quotes"),
        (rows_of("robin", '"robin', "robin"), "line 3: a quote is opened and not closed"),
        (rows_of('"robin', "robin", 'robin"'), "line 2: a text of several lines"),
        (rows_of('"ro"bin"'), "line 2: a quote .* or stands inside a text"),
        (rows_of(header="path,label,label", more=",x"), "has 2 columns 'label'"),
        (rows_of(header="path,label,split,split", more=",train,test"), "has 2 columns 'split'"),
        (rows_of("1", "1.0"), "line 3: the class '1.0' is the same number as '1'"),
        (rows_of("2.0", "02"), "line 3: the class '02' is the same number as '2.0'"),
        (rows_of(" \u00a0 "), "line 2: no label"),
    ],
)
def test_a_table_that_says_something_else_than_is_meant(tree, text, words):
    with pytest.raises(ValueError, match=words):
        ImageFolders.from_csv(write_csv(tree / "list.csv", text))


@pytest.mark.parametrize(
    "text, names",
    [
        (rows_of('"robin, female"'), ["robin", "robin, female", "wren"]),
        (rows_of(header="path,label", more=",,"), ["robin", "wren"]),  # a spreadsheet's empty columns
        (rows_of(" robin\u00a0", "robin  "), ["robin", "wren"]),
        (rows_of('"the ""small"" robin"'), ["robin", 'the "small" robin', "wren"]),
        (rows_of("07", "7"), ["07", "7", "robin", "wren"]),
        (rows_of("1.0", "1.0"), ["1.0", "robin", "wren"]),
    ],
)
def test_a_table_that_means_what_it_says(tree, text, names):
    assert ImageFolders.from_csv(write_csv(tree / "list.csv", text)).class_names == names


def test_a_table_takes_the_order_of_a_model(tree):
    table = write_csv(tree / "list.csv", rows_of())
    data = ImageFolders.from_csv(table, valid=0, class_names=["wren", "tit", "robin"])
    assert data.class_names == ["wren", "tit", "robin"] and data.train.labels == [2] * 4 + [0] * 4
    with pytest.raises(ValueError, match="class 'robin' that is not in class_names: there are 'tit', 'wren'"):
        ImageFolders.from_csv(table, class_names=["tit", "wren"])


def test_a_table_of_boxes_is_read_as_strictly(tree):
    table = write_csv(tree / "boxes.csv", "path,x,y,w,h,h\nrobin/0.png,1,1,2,2,9")
    with pytest.raises(ValueError, match="2 columns 'h'"):
        ImageFolders(tree, boxes=table)
