"""The published recordings and models. The files come from a folder, in place of the servers."""

import dataclasses
import hashlib
import socket

import pytest
import tiny

import kit
from kit.data.sources import catalog


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A tiny recording in place of a published one. KIT_OFFLINE is set in all tests."""
    entry = catalog.RECORDINGS["27204-5-13"]
    path = tiny.write(tmp_path).rename(tmp_path / entry.file)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = dataclasses.replace(entry, sha256=sha256)
    monkeypatch.setitem(catalog.RECORDINGS, "27204-5-13", entry)
    return path


def test_fetch_once(published, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("KIT_MIRROR", str(tmp_path))
    data = kit.load("sensorium+", folder=tmp_path / "data")
    assert list(data) == ["27204-5-13"]
    monkeypatch.delenv("KIT_MIRROR")
    path = catalog.fetch("27204-5-13", tmp_path / "data")
    assert path == tmp_path / "data" / "recordings" / published.name
    assert path.read_bytes() == published.read_bytes()
    kit.load("27204-5-13", folder=tmp_path / "data")
    assert "%" not in "".join(capfd.readouterr())  # no progress bar in CI


def test_fetch_takes_a_file_put_there_by_hand(published, tmp_path):
    folder = tmp_path / "data" / "recordings"
    folder.mkdir(parents=True)
    published.rename(folder / published.name)
    assert list(kit.load("sensorium+", folder=tmp_path / "data")) == ["27204-5-13"]


def test_fetch_asks_for_the_published_names(tmp_path, monkeypatch):
    urls = []
    monkeypatch.setattr(catalog, "download", lambda what, url, *_: urls.append(url))
    for mouse in catalog.RECORDINGS:
        catalog.fetch(mouse, tmp_path)
    host = "https://gin.g-node.org/cajal/Sensorium2022/raw/master/"
    image_set = "GrayImageNet-94c6ff995dac583098847cfecd43e7b6"
    assert urls == [f"{host}static{mouse}-{image_set}.zip" for mouse in catalog.RECORDINGS]


def test_recordings():
    assert len(catalog.RECORDINGS) == 7
    for mouse, entry in catalog.RECORDINGS.items():
        assert entry.mouse == mouse
        assert len(bytes.fromhex(entry.sha256)) == 32
        assert 390 < entry.megabytes < 430
    assert len({entry.sha256 for entry in catalog.RECORDINGS.values()}) == 7
    assert catalog.NAMES["sensorium"] == ["26872-17-20"]
    assert catalog.NAMES["sensorium+"] == ["27204-5-13"]
    assert len(catalog.NAMES["pretrain"]) == 5
    assert set(catalog.NAMES["all"]) == set(catalog.RECORDINGS)


def test_load_sample_needs_no_network(monkeypatch):
    def connect(*_):
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setenv("KIT_OFFLINE", "0")
    assert len(kit.load("sample+")) == 1
