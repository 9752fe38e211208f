"""The report on this machine, and on machines that lack something."""

import io
import sys
from collections import namedtuple

import pytest
import torch

import kit
from kit import machine
from kit.__main__ import main

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def large_machine(monkeypatch):
    """A machine with 8 GB of memory and 5 GB free on its disk."""
    monkeypatch.setattr(machine, "memory_gigabytes", lambda: 8.0)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: Usage(9e9, 4e9, 5e9))


def test_doctor(capsys, tmp_path):
    assert kit.doctor(tmp_path / "data")
    python, with_torch, device, *others = capsys.readouterr().out.splitlines()
    assert python.startswith("OK     Python 3")
    assert with_torch.startswith(f"OK     torch {torch.__version__}")
    assert device.startswith("OK     device ")
    assert others == [
        "OK     memory 8.0 GB",
        f"OK     data folder {tmp_path / 'data'}",
        "OK     disk 5.0 GB free there",
    ]


def test_doctor_in_a_terminal_that_cannot_show_a_name(tmp_path, monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert kit.doctor(tmp_path / "M\u00e4use")
    terminal.flush()
    assert "M?use" in terminal.buffer.getvalue().decode("ascii")


def test_doctor_without_a_data_folder(capsys, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KIT_DATA_DIR", str(tmp_path / "file" / "data"))
    assert main(["doctor"]) == 2
    out, err = capsys.readouterr()
    assert "TO DO  data folder" in out
    assert "KIT_DATA_DIR" in out
    assert err == ""


def test_doctor_without_a_home_folder(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("KIT_DATA_DIR", raising=False)
    monkeypatch.setattr(machine.os.path, "expanduser", lambda path: str(path))
    monkeypatch.chdir(tmp_path)
    assert not kit.doctor("~/data")
    assert "TO DO  data folder: '~/data': this user has no home folder" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("memory", "free", "line"),
    [(0.9, 5e9, "TO DO  memory 0.9 GB: the tutorials take up to"),
     (None, 5e9, "OK     memory unknown\n"),
     (8.0, 5e8, "TO DO  disk 0.5 GB free there: a sample mouse takes")],
)  # fmt: skip
def test_doctor_memory_and_disk(capsys, tmp_path, monkeypatch, memory, free, line):
    monkeypatch.setattr(machine, "memory_gigabytes", lambda: memory)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: Usage(9e9, 9e9 - free, free))
    assert kit.doctor(tmp_path / "data") == line.startswith("OK")
    assert line in capsys.readouterr().out


@pytest.mark.parametrize("packed", [False, True])
def test_doctor_read_only_folder(capsys, tmp_path, monkeypatch, packed):
    """Packed recordings can be used from there."""
    if packed:
        (tmp_path / "packed" / "7-1-1").mkdir(parents=True)
    monkeypatch.setattr(machine.os, "access", lambda *_: False)
    assert kit.doctor(tmp_path) == packed
    mark = "OK     " if packed else "TO DO  "
    assert f"{mark}data folder {tmp_path} (read-only)" in capsys.readouterr().out
