"""The queue of uploads: whole folders only, in their order, a bounded number of attempts, nothing lost."""

import shutil
import threading
import time

import pytest

import trainer.uploads as uploads
from trainer.arguments import RunConfig
from trainer.uploads import Upload, Uploader, make_pending, mark_sent, pending


@pytest.fixture
def sent(monkeypatch) -> list[str]:
    """Stands for the Hub: `broken` in a folder's name is refused."""
    names = []

    def send(folder, upload):
        names.append(folder.name)
        if "broken" in folder.name:
            raise OSError("no route to the Hub")
        return f"https://hub/{folder.name}"

    monkeypatch.setattr(uploads, "send", send)
    return names


def put(folder, *names: str):
    for name in names:
        make_pending(folder, name, Upload("me/x", name), lambda out: (out / "weights").write_text("w"))


def test_what_is_pending_is_sent_in_order_and_removed(sent, tmp_path):
    put(tmp_path, "00000020", "final", "00000003")
    assert Uploader(tmp_path, pause=0).finish() == []
    assert sent == ["00000003", "00000020", "final"]
    assert not pending(tmp_path) and not list((tmp_path / "pending").iterdir())
    assert uploads.sent(tmp_path)["final"] == {"repo": "me/x", "commit": "https://hub/final"}


def test_what_was_sent_is_not_sent_again_but_to_another_repository(sent, tmp_path):
    put(tmp_path, "final")
    Uploader(tmp_path, pause=0).finish()
    put(tmp_path, "final")
    assert not pending(tmp_path)
    make_pending(tmp_path, "final", Upload("me/x", ""), lambda out: None, again=True)
    Uploader(tmp_path, pause=0).finish()
    make_pending(tmp_path, "final", Upload("me/other", ""), lambda out: None)
    assert sent == ["final", "final"] and len(pending(tmp_path)) == 1


def test_a_name_is_not_filled_again_while_it_is_removed(tmp_path, monkeypatch):
    """The thread takes a folder out of the queue while the training sets one of the same name aside."""
    put(tmp_path, "00000003")
    (folder, upload), original, removing = pending(tmp_path)[0], shutil.rmtree, threading.Event()

    def slow(path, **settings):
        if threading.current_thread() is not threading.main_thread():
            removing.set()
            time.sleep(0.2)
        original(path, **settings)

    monkeypatch.setattr(uploads.shutil, "rmtree", slow)
    thread = threading.Thread(target=mark_sent, args=(folder, upload, "https://hub/x"))
    thread.start()
    removing.wait()
    make_pending(tmp_path, "00000003", Upload("me/other", ""), lambda out: (out / "weights").write_text("w"))
    thread.join()
    assert [(path / "weights").exists() for path, _ in pending(tmp_path)] == [True]


def test_half_written_folders_are_neither_sent_nor_kept(sent, tmp_path):
    def killed(out):
        (out / "old").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_pending(tmp_path, "00000003", Upload("me/x", ""), killed)
    assert Uploader(tmp_path, pause=0).finish() == [] and sent == []
    assert not list((tmp_path / "pending").iterdir())
    put(tmp_path, "00000003")
    assert [path.name for path in (tmp_path / "pending" / "00000003").iterdir()] == ["weights"]


def test_a_refused_upload_is_tried_so_often_then_kept_with_a_warning(sent, tmp_path):
    put(tmp_path, "00000003-broken", "00000020")
    with pytest.warns(UserWarning) as caught:
        left = Uploader(tmp_path, pause=0).finish()
    assert [path.name for path in left] == ["00000003-broken", "00000020"]
    assert 1 <= sent.count("00000003-broken") / uploads.ATTEMPTS <= 2 and "00000020" not in sent
    messages = [str(one.message) for one in caught]
    assert any("00000003-broken could not be uploaded (OSError: no route to the Hub)" in line for line in messages)
    assert f"unimse push {tmp_path} me/x` sends them" in messages[-1]
    assert (left[0] / "weights").read_text() == "w"


def test_a_hub_that_never_answers_does_not_hold_the_end(monkeypatch, tmp_path):
    answer = threading.Event()
    monkeypatch.setattr(uploads, "send", lambda *_: answer.wait(60))
    put(tmp_path, "00000003")
    with pytest.warns(UserWarning, match="1 uploads did not reach the Hub and are kept"):
        left = Uploader(tmp_path).finish(longest=0.2)
    assert len(left) == 1
    answer.set()


WRONG = [
    ({}, "push_to_hub.repo: expected owner/name of a Hub repository; it is missing"),
    ({"repo": "noslash"}, "noslash: expected owner/name"),
    ({"repo": "me/x", "every": 0}, "push_to_hub.every: expected a whole number >= 1, got 0"),
    ({"repo": "me/x", "private": "yes"}, "push_to_hub.private: expected bool, got 'yes'"),
    ({"repo": "me/x", "evry": 2}, "unknown field 'push_to_hub.evry'; did you mean 'every'"),
    ({"repo": "me/x", "token": "hf_x"}, "push_to_hub.token: the token is taken from HF_TOKEN"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG)
def test_wrong_settings_fail_before_anything_starts(settings, message):
    with pytest.raises(ValueError, match=message):
        RunConfig(run="x", data=["x"], push_to_hub=settings)
