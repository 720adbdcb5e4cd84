import pytest

from federant.pipe import MemoryPipe, Message, Mode, PipeChannelName, Topic


def test_request_gets_an_id_of_its_own():
    one, two = Message.new_request("train", None), Message.new_request("train", None)
    assert one.msg_type == "REQ"
    assert one.req_id is None
    assert isinstance(one.msg_id, str)
    assert one.msg_id != two.msg_id


def test_reply_names_the_request():
    reply = Message.new_reply("train", {"x": 1}, "the-request")
    assert reply.msg_type == "REP"
    assert reply.req_id == "the-request"
    assert reply.data == {"x": 1}


@pytest.mark.parametrize("msg_id", ["mine", 7])
def test_ids_of_the_caller_are_kept(msg_id):
    assert Message.new_request("train", None, msg_id).msg_id == msg_id


@pytest.mark.parametrize("msg_id", [None, "", 0])
def test_falsy_id_is_replaced(msg_id):
    assert Message.new_request("train", None, msg_id).msg_id


def test_times_are_unknown_until_a_pipe_sets_them():
    msg = Message.new_request("train", None)
    assert msg.sent_time is None
    assert msg.received_time is None


@pytest.mark.parametrize("topic", ["", "tr-ain", "träin", "train\n", "a b", "a.b"])
def test_topic_of_other_characters_is_refused(topic):
    with pytest.raises(ValueError, match="a-z A-Z 0-9 _") as error:
        Message.new_request(topic, None)
    assert repr(topic) in str(error.value)


def test_topic_that_is_no_str_is_refused():
    with pytest.raises(TypeError, match="topic must be a str, got int"):
        Message.new_request(7, None)


def test_type_other_than_request_and_reply_is_refused():
    with pytest.raises(ValueError, match="msg_type must be 'REQ' or 'REP', got 'ASK'"):
        Message("ASK", "train", None)
    with pytest.raises(TypeError, match="msg_type must be a str, got NoneType"):
        Message(None, "train", None)


def test_str_shows_type_topic_and_ids_but_no_data():
    msg = Message("REP", "train", "secret", "an-id", "a-request")
    assert str(msg) == "Message(REP train, msg_id=an-id, req_id=a-request)"


@pytest.mark.parametrize("mode", [Mode.ACTIVE, "ACTIVE", Mode.PASSIVE, "PASSIVE"])
def test_mode_is_taken_as_enum_and_as_str(mode):
    assert MemoryPipe("token", mode).mode == mode


@pytest.mark.parametrize("mode", ["active", None, 1, ""])
def test_other_modes_are_refused(mode):
    with pytest.raises(ValueError, match=f"'ACTIVE' or 'PASSIVE', got {mode!r}"):
        MemoryPipe("token", mode)


def test_mode_formats_as_its_value():
    assert f"{Mode.ACTIVE}" == "ACTIVE"


def test_names_on_the_wire_stay_as_they_are():
    assert Topic.ABORT == "_ABORT_"
    assert Topic.END == "_END_"
    assert Topic.HEARTBEAT == "_HEARTBEAT_"
    assert Topic.PEER_GONE == "_PEER_GONE_"
    assert Topic.ACCEPTED == "_ACCEPTED_"
    assert Topic.CANCEL == "_CANCEL_"
    assert PipeChannelName.TASK == "task"
    assert PipeChannelName.METRIC == "metric"
