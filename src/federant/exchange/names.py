"""The closed sets of names that travel: data kinds, meta keys, return codes and header keys."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

RETURN_CODE_LENGTH: Final = 200
"""Characters that a return code may have; sites and servers refuse a longer one."""


class DataKind(StrEnum):
    """What a DXO's data is; a member equals its plain string."""

    FL_MODEL = "FL_MODEL"
    WEIGHTS = "WEIGHTS"
    WEIGHT_DIFF = "WEIGHT_DIFF"
    METRICS = "METRICS"
    ANALYTIC = "ANALYTIC"
    COLLECTION = "COLLECTION"
    STATISTICS = "STATISTICS"
    PSI = "PSI"
    APP_DEFINED = "APP_DEFINED"


class FLMetaKey:
    """Keys of the meta that describes a model."""

    NUM_STEPS_CURRENT_ROUND = "NUM_STEPS_CURRENT_ROUND"
    PROCESSED_ALGORITHM = "PROCESSED_ALGORITHM"
    PROCESSED_KEYS = "PROCESSED_KEYS"
    INITIAL_METRICS = "initial_metrics"
    FILTER_HISTORY = "filter_history"
    CONFIGS = "configs"
    VALIDATE_TYPE = "validate_type"
    START_ROUND = "start_round"
    CURRENT_ROUND = "current_round"
    TOTAL_ROUNDS = "total_rounds"
    JOB_ID = "job_id"
    SITE_NAME = "site_name"
    PROCESS_RC_FILE = "_process_rc.txt"
    SUBMIT_MODEL_NAME = "submit_model_name"
    AUTH_TOKEN = "auth_token"
    AUTH_TOKEN_SIGNATURE = "auth_token_signature"


class MetaKey(FLMetaKey):
    """Keys of a DXO's meta."""


class ReturnCode:
    """What became of a task, as a plain string in the header `HeaderKey.RC`."""

    OK = "OK"
    BAD_PEER_CONTEXT = "BAD_PEER_CONTEXT"
    BAD_REQUEST_DATA = "BAD_REQUEST_DATA"
    BAD_TASK_DATA = "BAD_TASK_DATA"
    COMMUNICATION_ERROR = "COMMUNICATION_ERROR"
    TIMEOUT = "TIMEOUT"
    ERROR = "ERROR"
    EXECUTION_EXCEPTION = "EXECUTION_EXCEPTION"
    EXECUTION_RESULT_ERROR = "EXECUTION_RESULT_ERROR"
    HANDLER_EXCEPTION = "HANDLER_EXCEPTION"
    MISSING_PEER_CONTEXT = "MISSING_PEER_CONTEXT"
    RUN_MISMATCH = "RUN_MISMATCH"
    TASK_ABORTED = "TASK_ABORTED"
    TASK_DATA_FILTER_ERROR = "TASK_DATA_FILTER_ERROR"
    TASK_RESULT_FILTER_ERROR = "TASK_RESULT_FILTER_ERROR"
    TASK_UNKNOWN = "TASK_UNKNOWN"
    TASK_UNSUPPORTED = "TASK_UNSUPPORTED"
    TOPIC_UNKNOWN = "TOPIC_UNKNOWN"
    MODEL_UNRECOGNIZED = "MODEL_UNRECOGNIZED"
    VALIDATE_TYPE_UNKNOWN = "VALIDATE_TYPE_UNKNOWN"
    EMPTY_RESULT = "EMPTY_RESULT"
    UNSAFE_JOB = "UNSAFE_JOB"
    EARLY_TERMINATION = "EARLY_TERMINATION"
    SERVER_NOT_READY = "SERVER_NOT_READY"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"

    TASK_TIMEOUT = "TASK_TIMEOUT"
    """The trainer had the task and did not answer before its deadline."""
    TRAINER_DIED = "TRAINER_DIED"
    """The trainer's process ended, or said goodbye, with the task in hand."""
    TRAINER_ABSENT = "TRAINER_ABSENT"
    """No trainer read the task in time."""

    RESULT_UNREADABLE = "RESULT_UNREADABLE"
    """The result is no valid frame."""
    RESULT_WRONG_KIND = "RESULT_WRONG_KIND"
    """The result's data kind is not one that the task asked for."""
    RESULT_WRONG_NAMES = "RESULT_WRONG_NAMES"
    """The result lacks tensors of the model, or has others."""
    RESULT_WRONG_SHAPE = "RESULT_WRONG_SHAPE"
    """A tensor's shape is not the model's."""
    RESULT_WRONG_DTYPE = "RESULT_WRONG_DTYPE"
    """A tensor's dtype is not the model's."""
    RESULT_NOT_FINITE = "RESULT_NOT_FINITE"
    """A tensor holds NaN or infinity."""
    RESULT_BAD_WEIGHT = "RESULT_BAD_WEIGHT"
    """The weight is no finite number above zero."""


class ReservedHeaderKey:
    """Header keys that are the system's own; the names are shared with the wire format."""

    HEADERS = "__headers__"
    TOPIC = "__topic__"
    RC = "__rc__"
    COOKIE_JAR = "__cookie_jar__"
    PEER_PROPS = "__peer_props__"
    REPLY_IS_LATE = "__reply_is_late__"
    TASK_NAME = "__task_name__"
    TASK_ID = "__task_id__"
    WORKFLOW = "__workflow__"
    AUDIT_EVENT_ID = "__audit_event_id__"
    CONTENT_TYPE = "__content_type__"
    TASK_OPERATOR = "__task_operator__"
    ERROR = "__error__"
    PEER_CTX = "__peer_ctx__"
    MSG_ROOT_ID = "__msg_root_id__"
    MSG_ROOT_TTL = "__msg_root_ttl__"
    PASS_THROUGH = "__pass_through__"


class HeaderKey(ReservedHeaderKey):
    """Every header key that this package sets or reads."""

    ATTEMPT = "__attempt__"
    """Which try at the task this is: an int from 1 upwards."""
    CRASHED = "__crashed__"
    """True in an answer that is the last word of a process which dies of an exception."""
    CURRENT_ROUND = "current_round"
    NUM_ROUNDS = "num_rounds"
    START_ROUND = "start_round"
    TRANSFER_TYPE = "transfer_type"
    """What the task wants back of a model, as ParamsType names it; FULL where it is missing."""
    SUBMIT_MODEL_NAME = "submit_model_name"
    """Which of its models a site is asked for."""
    VALIDATE_TYPE = "_validate_type"
    """What a model that is to be evaluated is."""
    JOB_ID = "job_id"
    SITE_NAME = "site_name"
