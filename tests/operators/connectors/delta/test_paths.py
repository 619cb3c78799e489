from pathlib import Path

import pytest

from operators.connectors.delta.paths import check_root, local_folder, table_uri


@pytest.mark.parametrize(
    ("root", "folder"),
    [
        ("/data/My Projects/", "/data/My Projects"),
        ("/data/50% ü#1?", "/data/50% ü#1?"),
        ("file:///data/My%20Projects", "/data/My Projects"),
        ("file:///data/100%25", "/data/100%"),
        ("./tables/", str(Path.cwd() / "tables")),
        ("a:b", str(Path.cwd() / "a:b")),
        ("~/x", str(Path.home() / "x")),
    ],
)
def test_a_path_means_the_folder_of_that_name(root, folder):
    assert local_folder(root) == Path(folder)
    assert table_uri(root, "gold/x") == f"{folder}/gold/x"


def test_an_object_stores_url_stays_as_it_is():
    assert local_folder("s3://bucket/root") is None
    assert table_uri("s3://bucket/a b/", "gold/x") == "s3://bucket/a b/gold/x"


@pytest.mark.parametrize("root", ["a[b", "a]b", "a\\b", "a^b", "a|b", "a\tb", "x%41", "50%ab"])
def test_a_root_that_deltalake_takes_for_another_is_no_root(root):
    with pytest.raises(ValueError, match=r"cannot be kept .*; name another"):
        check_root(f"/data/{root}/tables")


@pytest.mark.parametrize("root", ["50% off", "a b#?&;'\"{}~+*", "s3://bucket/%41", "file:///x"])
def test_any_other_root_will_do(root):
    check_root(root)


def test_a_file_url_of_another_host_and_a_home_of_nobody_are_no_roots():
    with pytest.raises(ValueError, match="names another host"):
        check_root("file://server/share")
    with pytest.raises(ValueError, match="~nobody-of-that-name"):
        check_root("~nobody-of-that-name/x")
