"""Threads of torch on a machine whose cores are not all granted."""

from kit.threads import limit_threads


def test_limit_threads(monkeypatch):
    numbers = []
    monkeypatch.setattr("joblib.cpu_count", lambda: 1)
    monkeypatch.setattr("torch.get_num_threads", lambda: 4)
    monkeypatch.setattr("torch.set_num_threads", numbers.append)
    limit_threads.__wrapped__()  # without its cache
    assert numbers == [1]
