"""One connection in Pipecat's dialect: what cannot be read, and how much of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire import older
from tests.wire.golden import GOLDEN
from trioworkers import (
    BusJobResponseMessage,
    BusJobResponseUrgentMessage,
    BusJobStreamEndMessage,
    BusMessage,
    BusTTSSpeakMessage,
    JobStatus,
    JSONMessageSerializer,
    RemoteWireError,
)
from trioworkers.wire.pipecat_session import (
    FORGIVEN_AFTER,
    PATIENCE,
    PipecatSession,
    answered_job,
)

ENDS = (BusJobResponseMessage, BusJobResponseUrgentMessage, BusJobStreamEndMessage)
SPEAK = BusTTSSpeakMessage(source="a", target="b", text="grüße", append_to_context=True)


@pytest.fixture
def session() -> PipecatSession:
    """Begin a connection."""
    return PipecatSession(JSONMessageSerializer())


def send_garbage(session: PipecatSession, times: int = 1) -> None:
    """Decode what is none."""
    for _ in range(times):
        with pytest.raises(RemoteWireError):
            session.decode(b"garbage")


def test_text_and_binary_frames(session: PipecatSession) -> None:
    """S-PROXY-5: a message is read from a text frame as from a binary one; binary is written."""
    frame = session.encode(SPEAK)
    assert isinstance(frame, bytes)
    assert session.decode(frame) == session.decode(frame.decode()) == SPEAK


def test_a_text_frame_that_is_no_text(session: PipecatSession) -> None:
    """S-PROXY-4: half of a surrogate pair is one more unreadable message."""
    with pytest.raises(RemoteWireError, match="no text"):
        session.decode("\ud800")
    send_garbage(session, PATIENCE)
    assert session.abused


def test_patience_is_bounded(session: PipecatSession) -> None:
    """S-PROXY-4: 32 unreadable messages are borne, one more is too many."""
    send_garbage(session, PATIENCE)
    assert not session.abused
    send_garbage(session)
    assert session.abused


def test_good_messages_earn_forgiveness(session: PipecatSession) -> None:
    """S-PROXY-4: for every 8 good messages one bad is forgiven; none is forgiven in advance."""
    frame = session.encode(SPEAK)
    for _ in range(10 * FORGIVEN_AFTER):
        session.decode(frame)
    send_garbage(session, PATIENCE)
    for _ in range(FORGIVEN_AFTER - 1):
        session.decode(frame)
    send_garbage(session)
    assert session.abused
    session.decode(frame)
    assert not session.abused


# Answers that cannot be read

ANSWER = BusJobResponseMessage(
    source="assistant", target="acme", job_id="j-1", status=JobStatus.COMPLETED, response={"a": 1}
)


def test_the_jobs_of_recorded_answers_are_found() -> None:
    """S-PROXY-4: of the messages of a real peer, answers name their job, and the others none."""
    for _, _, message, frame in GOLDEN:
        answers = isinstance(message, ENDS)
        assert answered_job(frame) == (getattr(message, "job_id", None) if answers else None)


@pytest.mark.parametrize(
    "message",
    [
        ANSWER,
        BusJobResponseUrgentMessage(
            source="assistant", target="acme", job_id="j-1", status=JobStatus.ERROR, response=None
        ),
        BusJobStreamEndMessage(source="assistant", target="acme", job_id="j-1", data={}),
    ],
)
def test_the_job_of_an_answer_is_found(session: PipecatSession, message: BusMessage) -> None:
    """S-PROXY-4: an answer that cannot be read still tells which job it was for."""
    frame = session.encode(message)
    assert answered_job(frame) == answered_job(frame.decode()) == "j-1"
    broken = frame.replace(b'"response"', b'"answer"').replace(b"{}", b"NaN")[:-1]
    assert answered_job(broken) == "j-1"


@pytest.mark.parametrize(("_id", "message", "frame"), older.GOLDEN)
def test_the_jobs_of_older_answers_are_found(_id: int, message: BusMessage, frame: bytes) -> None:
    """S-PROXY-4: answers with the older names name their job, and other messages none."""
    answers = isinstance(message, ENDS)
    assert answered_job(frame) == answered_job(frame.decode()) == ("t1" if answers else None)


def test_each_answer_has_the_field_of_its_own_name() -> None:
    """S-PROXY-4: what an older answer carries does not stand for the job it is for."""
    older_one = b'{"__type__":"a.BusTaskResponseMessage","__data__":{"metadata":{"job_id":"x"},'
    assert answered_job(older_one + b'"task_id":"j"}}') == "j"
    assert answered_job(older_one + b'"source":"a"}}') is None
    newer_one = b'{"__type__":"a.BusJobResponseMessage","__data__":{"task_id":"x","job_id":"j"}}'
    assert answered_job(newer_one) == "j"


def test_the_module_of_an_answer_does_not_matter() -> None:
    """S-PROXY-4: the module that a peer gives for the type does not matter."""
    text = {"__type__": "my.own.BusJobResponseMessage", "__data__": {"job_id": "j", "x": 1}}
    frame = json.dumps(text, separators=(",", ":"))
    assert answered_job(frame) == "j"


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"garbage",
        b"\xff\xfe" * 900,
        b'{"__type__":"BusJobRequestMessage","__data__":{"job_id":"j"}}',
        b'{"__type__":"BusJobResponseMessage","__data__":{"source":"a"}}',
        b'{"__type__":"BusJobResponseMessage","__data__":{"job_id":"a b"}}',
        b'{"__type__":"BusJobResponseMessage","__data__":{"job_id":"' + b"j" * 129 + b'"}}',
        # So far from the beginning that no peer of good will writes it there.
        b'{"__type__":"BusJobResponseMessage","__data__":{' + b" " * 1001 + b'"job_id":"j"}}',
    ],
)
def test_other_frames_answer_no_job(frame: bytes) -> None:
    """S-PROXY-4: what does not begin as an answer fails no job."""
    assert answered_job(frame) is None


@given(st.one_of(st.binary(max_size=3000), st.text(max_size=3000)))
def test_looking_for_a_job_never_fails(frame: bytes | str) -> None:
    """S-PROXY-4: whatever the bytes, looking into them raises nothing."""
    assert answered_job(frame) is None


@given(cut=st.integers(0, 200), junk=st.binary(max_size=20))
def test_a_damaged_answer_names_its_job_or_none(cut: int, junk: bytes) -> None:
    """S-PROXY-4: a damaged answer is for its own job or for none that could be told."""
    frame = PipecatSession(JSONMessageSerializer()).encode(ANSWER)
    assert answered_job(frame[:cut] + junk) in {None, "j-1", *_prefixes(frame[:cut] + junk)}


def _prefixes(frame: bytes) -> set[str]:
    """Find what stands where the id is."""
    text = frame.decode("latin-1")
    return {part.partition('"')[0] for part in text.split('"job_id":"')[1:]}
