"""A stream with real brokers: whatever dies, every event is answered, none predicted twice."""

import signal
from collections import Counter

import pytest

from brokers import Broker, Nats, Rabbit, Redis
from chassis.streaming.processes import Consumer, answers, event, on, wait_for_answers
from ml_chassis.streaming.brokers import Topics
from waiting import wait_for

pytestmark = pytest.mark.slow

MANY = 2_000


def test_each_message_is_answered_once_or_buried_with_a_reason(
    broker: Broker, topics: Topics, consumer: Consumer
) -> None:
    consumer.settings["MODEL_SERVICE_MAX_BODY_BYTES"] = "2000"
    bad = {
        b"secret {": "The body is not JSON.",
        b"secret \xff\x00": "The body is not JSON.",
        event("a", wind_speed=-1): "row.wind_speed: Input should be greater than or equal to 0",
        event("long", carrier="secret" * 1_000): "Send 2000 bytes at most in one request.",
        event("a", carrier="ZZ"): "The id was used before, for another row.",
    }
    broker.send(topics.source, [event("a"), event("b"), event("a"), *bad, event("c")])

    consumer.start()

    wait_for(lambda: len(broker.read(topics.dead_letters)) >= len(bad), "dead letters")
    wait_for(lambda: len(answers(broker, topics)) >= 4, "answers")
    assert consumer.stop() == 0
    assert broker.pending(topics.source, topics.group) == 0
    told = answers(broker, topics)
    assert Counter(each["prediction_id"] for each in told) == {"a": 2, "b": 1, "c": 1}
    assert len({each["prediction"] for each in told}) == 1
    assert consumer.kept() == 3
    letters = consumer.rows("SELECT reason, body, raw, origin FROM dead_letters")
    assert len(letters) == len(bad)
    for reason, body, raw, origin in letters:
        assert bad[raw or body.encode()] in reason
        assert origin.startswith(topics.source)
    assert "9 messages: 3 predicted, 1 known already, 5 dead letters" in consumer.log
    assert "secret" not in consumer.log


def test_dead_letters_are_replayed_after_a_fix(
    broker: Broker, topics: Topics, consumer: Consumer
) -> None:
    broker.send(topics.source, [event("a"), event("b"), b"no JSON"])
    consumer.settings["MODEL_SERVICE_MAX_BODY_BYTES"] = "10"
    consumer.start()
    wait_for(lambda: len(broker.read(topics.dead_letters)) == 3, "dead letters")
    assert consumer.stop() == 0
    assert consumer.kept() == 0

    consumer.settings["MODEL_SERVICE_MAX_BODY_BYTES"] = "1000"
    consumer.start(replay=True)
    assert consumer.ended() == 0
    assert f"3 dead letters were sent to {topics.source} again" in consumer.log
    consumer.start()

    wait_for(lambda: len(broker.read(topics.dead_letters)) == 4, "the one that is still bad")
    wait_for_answers(broker, topics, 2)
    assert consumer.stop() == 0
    assert consumer.rows("SELECT body FROM dead_letters") == [("no JSON",)]


def test_a_killed_consumer_loses_nothing_and_predicts_nothing_twice(
    broker: Broker, topics: Topics, consumer: Consumer
) -> None:
    names = [str(number) for number in range(MANY)]
    broker.send(
        topics.source, [event(name, distance=number + 1) for number, name in enumerate(names)]
    )

    consumer.start()
    wait_for(lambda: consumer.kept() > 0, "the first batch")
    assert consumer.stop(signal.SIGKILL) == -signal.SIGKILL
    assert 0 < consumer.kept() < MANY
    before = consumer.rows("SELECT * FROM predictions")
    consumer.start()

    wait_for_answers(broker, topics, MANY)
    assert consumer.stop() == 0
    assert broker.pending(topics.source, topics.group) == 0
    assert consumer.kept() == MANY
    assert set(before) <= set(consumer.rows("SELECT * FROM predictions"))
    told = {(each["prediction_id"], each["prediction"]) for each in answers(broker, topics)}
    assert told == set(consumer.rows("SELECT id, prediction FROM predictions"))


def test_a_broker_that_restarts_is_waited_for(
    broker: Broker, topics: Topics, consumer: Consumer
) -> None:
    consumer.start()
    broker.send(topics.source, [event(f"before-{number}") for number in range(20)])
    wait_for_answers(broker, topics, 20)

    broker.stop()
    broker.start()
    broker.send(topics.source, [event(f"after-{number}") for number in range(20)])

    wait_for_answers(broker, topics, 40)
    assert consumer.stop() == 0
    assert broker.pending(topics.source, topics.group) == 0
    assert consumer.kept() == 40


# On Redis, whoever adds an answer makes the stream for it.
@pytest.mark.parametrize(
    ("broker", "lost"),
    [
        (Redis, "source"),
        *((kind, lost) for kind in (Nats, Rabbit) for lost in ("source", "predictions")),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
    indirect=["broker"],
)
def test_a_broker_that_lost_a_topic_ends_the_consumer(
    broker: Broker, topics: Topics, consumer: Consumer, lost: str
) -> None:
    broker.send(topics.source, [event("a")])
    consumer.start()
    wait_for_answers(broker, topics, 1)

    broker.lose(getattr(topics, lost))

    assert consumer.ended() == 1
    assert "The broker has lost the topic or the group" in consumer.log
    assert "Traceback" not in consumer.log


@on(Nats, Rabbit)
def test_a_topic_that_is_lost_after_a_restart_ends_the_consumer_too(
    broker: Broker, topics: Topics, consumer: Consumer
) -> None:
    consumer.start()
    broker.send(topics.source, [event("a")])
    wait_for_answers(broker, topics, 1)
    broker.stop()
    broker.start()
    broker.send(topics.source, [event("b")])
    wait_for_answers(broker, topics, 2)

    broker.lose(topics.predictions)

    assert consumer.ended() == 1
    assert "The broker has lost the topic or the group" in consumer.log


@on(Rabbit)
def test_a_queue_that_another_has_for_itself_is_told_in_a_line(
    broker: Rabbit, topics: Topics, consumer: Consumer
) -> None:
    with broker.exclusively(topics.source):
        consumer.start()
        assert consumer.ended() == 1

    assert "exclusive" in consumer.log
    assert "Traceback" not in consumer.log
    assert "destroyed" not in consumer.log


@on(Rabbit)
def test_queues_that_exist_are_used_as_they_are(
    broker: Rabbit, topics: Topics, consumer: Consumer
) -> None:
    broker.declare(topics.source, **{"x-queue-type": "quorum"})
    broker.declare(topics.predictions, **{"x-queue-type": "quorum"})
    broker.send(topics.source, [event("a")])

    consumer.start()

    wait_for_answers(broker, topics, 1)
    assert consumer.stop(signal.SIGINT) == 0
    assert broker.pending(topics.source, topics.group) == 0
