"""Cancellation-safe worker graphs on trio.

Each worker is a trio task with a mailbox of two lanes; system messages are handled before data;
jobs end in exactly one outcome; a runner supervises the tree and stops it with exact `end` and
`cancel`.
"""

from __future__ import annotations

from . import abc as abc
from . import errors as errors
from . import messages as messages
from ._asking import PendingJob as PendingJob
from ._bus import LocalBus as LocalBus
from ._handlers import handles as handles
from ._handlers import job as job
from ._job_groups import JobGroup as JobGroup
from ._jobs import Job as Job
from ._mailbox import Overflow as Overflow
from ._open_runner import open_runner as open_runner
from ._registry import Registry as Registry
from ._requests import trace_context as trace_context
from ._runner import WorkerRunner as WorkerRunner
from ._values import Backoff as Backoff
from ._values import DeadLetter as DeadLetter
from ._values import DeadLetterReason as DeadLetterReason
from ._values import Down as Down
from ._values import JobEvent as JobEvent
from ._values import JobGroupEvent as JobGroupEvent
from ._values import Lagged as Lagged
from ._values import LinkStatistics as LinkStatistics
from ._values import MailboxStatistics as MailboxStatistics
from ._values import Restart as Restart
from ._values import RunnerStatistics as RunnerStatistics
from ._values import StopReason as StopReason
from ._values import Strategy as Strategy
from ._values import Up as Up
from ._values import WorkerErrorData as WorkerErrorData
from ._values import WorkerReadyData as WorkerReadyData
from ._values import WorkerRegistryEntry as WorkerRegistryEntry
from ._values import WorkerState as WorkerState
from ._values import WorkerStatistics as WorkerStatistics
from ._version import __version__ as __version__
from ._worker import Worker as Worker
from .abc import Instrument as Instrument
from .abc import MessageSerializer as MessageSerializer
from .abc import WorkerBus as WorkerBus
from .errors import BackpressureDeadlockError as BackpressureDeadlockError
from .errors import JobCancelledError as JobCancelledError
from .errors import JobError as JobError
from .errors import JobFailed as JobFailed
from .errors import JobFailedError as JobFailedError
from .errors import JobGroupError as JobGroupError
from .errors import JobRefusedError as JobRefusedError
from .errors import JobRemoteError as JobRemoteError
from .errors import LocalWireError as LocalWireError
from .errors import MailboxFullError as MailboxFullError
from .errors import MessageTooBigError as MessageTooBigError
from .errors import NameTakenError as NameTakenError
from .errors import RemoteWireError as RemoteWireError
from .errors import ReplayGapError as ReplayGapError
from .errors import RestartIntensityExceeded as RestartIntensityExceeded
from .errors import SystemLaneFullError as SystemLaneFullError
from .errors import UnknownWorkerError as UnknownWorkerError
from .errors import WireError as WireError
from .errors import WorkerGoneError as WorkerGoneError
from .errors import WorkersError as WorkersError
from .messages import BusActivateWorkerMessage as BusActivateWorkerMessage
from .messages import BusAddWorkerMessage as BusAddWorkerMessage
from .messages import BusCancelMessage as BusCancelMessage
from .messages import BusCancelWorkerMessage as BusCancelWorkerMessage
from .messages import BusDataMessage as BusDataMessage
from .messages import BusDeactivateWorkerMessage as BusDeactivateWorkerMessage
from .messages import BusEndMessage as BusEndMessage
from .messages import BusEndWorkerMessage as BusEndWorkerMessage
from .messages import BusFrameMessage as BusFrameMessage
from .messages import BusJobCancelMessage as BusJobCancelMessage
from .messages import BusJobRequestMessage as BusJobRequestMessage
from .messages import BusJobResponseMessage as BusJobResponseMessage
from .messages import BusJobResponseUrgentMessage as BusJobResponseUrgentMessage
from .messages import BusJobStreamDataMessage as BusJobStreamDataMessage
from .messages import BusJobStreamEndMessage as BusJobStreamEndMessage
from .messages import BusJobStreamStartMessage as BusJobStreamStartMessage
from .messages import BusJobUpdateMessage as BusJobUpdateMessage
from .messages import BusJobUpdateRequestMessage as BusJobUpdateRequestMessage
from .messages import BusJobUpdateUrgentMessage as BusJobUpdateUrgentMessage
from .messages import BusLocalMessage as BusLocalMessage
from .messages import BusMessage as BusMessage
from .messages import BusSystemMessage as BusSystemMessage
from .messages import BusTTSSpeakMessage as BusTTSSpeakMessage
from .messages import BusUICommandMessage as BusUICommandMessage
from .messages import BusUIDataMessage as BusUIDataMessage
from .messages import BusUIEventMessage as BusUIEventMessage
from .messages import BusUIJobCompletedMessage as BusUIJobCompletedMessage
from .messages import BusUIJobGroupCompletedMessage as BusUIJobGroupCompletedMessage
from .messages import BusUIJobGroupStartedMessage as BusUIJobGroupStartedMessage
from .messages import BusUIJobUpdateMessage as BusUIJobUpdateMessage
from .messages import BusWorkerErrorMessage as BusWorkerErrorMessage
from .messages import BusWorkerLocalErrorMessage as BusWorkerLocalErrorMessage
from .messages import BusWorkerReadyMessage as BusWorkerReadyMessage
from .messages import BusWorkerRegistryMessage as BusWorkerRegistryMessage
from .messages import FrameDirection as FrameDirection
from .messages import JobStatus as JobStatus
from .messages import message as message
from .wire import JSONMessageSerializer as JSONMessageSerializer

__all__ = [
    "Backoff",
    "BackpressureDeadlockError",
    "BusActivateWorkerMessage",
    "BusAddWorkerMessage",
    "BusCancelMessage",
    "BusCancelWorkerMessage",
    "BusDataMessage",
    "BusDeactivateWorkerMessage",
    "BusEndMessage",
    "BusEndWorkerMessage",
    "BusFrameMessage",
    "BusJobCancelMessage",
    "BusJobRequestMessage",
    "BusJobResponseMessage",
    "BusJobResponseUrgentMessage",
    "BusJobStreamDataMessage",
    "BusJobStreamEndMessage",
    "BusJobStreamStartMessage",
    "BusJobUpdateMessage",
    "BusJobUpdateRequestMessage",
    "BusJobUpdateUrgentMessage",
    "BusLocalMessage",
    "BusMessage",
    "BusSystemMessage",
    "BusTTSSpeakMessage",
    "BusUICommandMessage",
    "BusUIDataMessage",
    "BusUIEventMessage",
    "BusUIJobCompletedMessage",
    "BusUIJobGroupCompletedMessage",
    "BusUIJobGroupStartedMessage",
    "BusUIJobUpdateMessage",
    "BusWorkerErrorMessage",
    "BusWorkerLocalErrorMessage",
    "BusWorkerReadyMessage",
    "BusWorkerRegistryMessage",
    "DeadLetter",
    "DeadLetterReason",
    "Down",
    "FrameDirection",
    "Instrument",
    "JSONMessageSerializer",
    "Job",
    "JobCancelledError",
    "JobError",
    "JobEvent",
    "JobFailed",
    "JobFailedError",
    "JobGroup",
    "JobGroupError",
    "JobGroupEvent",
    "JobRefusedError",
    "JobRemoteError",
    "JobStatus",
    "Lagged",
    "LinkStatistics",
    "LocalBus",
    "LocalWireError",
    "MailboxFullError",
    "MailboxStatistics",
    "MessageSerializer",
    "MessageTooBigError",
    "NameTakenError",
    "Overflow",
    "PendingJob",
    "Registry",
    "RemoteWireError",
    "ReplayGapError",
    "Restart",
    "RestartIntensityExceeded",
    "RunnerStatistics",
    "StopReason",
    "Strategy",
    "SystemLaneFullError",
    "UnknownWorkerError",
    "Up",
    "WireError",
    "Worker",
    "WorkerBus",
    "WorkerErrorData",
    "WorkerGoneError",
    "WorkerReadyData",
    "WorkerRegistryEntry",
    "WorkerRunner",
    "WorkerState",
    "WorkerStatistics",
    "WorkersError",
    "__version__",
    "abc",
    "errors",
    "handles",
    "job",
    "message",
    "messages",
    "open_runner",
    "trace_context",
]
