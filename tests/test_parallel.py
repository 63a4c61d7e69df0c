"""Work in parts, and the same result on any number of cores."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from focvs.parallel import all_cores, cores, in_parallel, one_thread_each


@pytest.fixture
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def test_one_thread_and_all_cores(two_threads):
    def now():
        return torch.get_num_threads(), cores()

    assert now() == (2, 2)
    with one_thread_each():
        assert now() == (1, 2)
        with one_thread_each(), all_cores():
            assert now() == (2, 2)
        assert now() == (1, 2)
    assert now() == (2, 2)
    with pytest.raises(ZeroDivisionError), one_thread_each():
        1 / 0  # noqa: B018
    assert now() == (2, 2)


def test_work_is_done_in_order_by_threads_of_one_core_each():
    threads, seen = torch.get_num_threads(), set()

    def work(item):
        seen.add((threading.get_ident(), torch.get_num_threads(), torch.is_inference_mode_enabled()))
        time.sleep(0.02)
        return 2 * item

    torch.set_num_threads(2)
    items = torch.arange(12).split(2)
    with torch.inference_mode():
        out = in_parallel(work, items, torch.device("cpu"))
    assert torch.equal(torch.cat(out), 2 * torch.arange(12))
    assert len(seen) == 2 and {(count, inference) for _, count, inference in seen} == {(1, True)}
    assert torch.get_num_threads() == 2
    with ThreadPoolExecutor(1) as other:
        assert other.submit(torch.get_num_threads).result() == 2
    with torch.no_grad():
        weight = torch.ones(1, requires_grad=True)
        assert not any(v.requires_grad for v in in_parallel(lambda item: weight * item, items, torch.device("cpu")))
    with pytest.raises(ZeroDivisionError):
        in_parallel(lambda item: 1 / 0, items, torch.device("cpu"))
    torch.set_num_threads(1)
    seen.clear()
    in_parallel(work, items, torch.device("cpu"))
    assert seen == {(threading.get_ident(), 1, False)}
    torch.set_num_threads(threads)
