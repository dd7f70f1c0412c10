"""Calls the service of server.py through the gateway in all four ways."""

import queue
import sys
import threading
import time

import grpc

TIMEOUT = 20


def check_unary(channel):
    call = channel.unary_unary("/test.Echo/Unary")
    response, details = call.with_call(b"hello", timeout=TIMEOUT)
    assert response == b"echo hello", response
    assert dict(details.initial_metadata())["x-initial"] == "first"
    trailing = dict(details.trailing_metadata())
    assert trailing["x-trailing"] == "last", trailing
    assert trailing["x-data-bin"] == b"\x00\xff", trailing
    assert details.code() == grpc.StatusCode.OK
    large = b"x" * 300_000
    assert call(large, timeout=TIMEOUT) == b"echo " + large


def check_failures(channel):
    try:
        channel.unary_unary("/test.Echo/Unary")(b"fail", timeout=TIMEOUT)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
        assert error.details() == "not now: 100 %", error
        assert dict(error.trailing_metadata())["x-trailing"] == "last"
    else:
        raise AssertionError("no error")
    try:
        channel.unary_unary("/test.Echo/Missing")(b"", timeout=TIMEOUT)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
    else:
        raise AssertionError("no error")


def check_streams(channel):
    responses = channel.unary_stream("/test.Echo/ServerStream")(b"50", timeout=TIMEOUT)
    assert list(responses) == [b"part %d" % number for number in range(50)]
    assert dict(responses.trailing_metadata())["x-trailing"] == "last"
    sent = (b"x" * 1_000 for _ in range(100))
    received = channel.stream_unary("/test.Echo/ClientStream")(sent, timeout=TIMEOUT)
    assert received == b"received 100000", received


def check_both(channel):
    """Each message is sent after the response to the one before: nothing may be held back."""
    messages = queue.Queue()
    responses = channel.stream_stream("/test.Echo/Both")(iter(messages.get, None), timeout=TIMEOUT)
    for number in range(20):
        messages.put(b"message %d" % number)
        assert next(responses) == b"echo message %d" % number
    messages.put(None)
    assert list(responses) == []
    assert responses.code() == grpc.StatusCode.OK


def check_deadline(channel):
    """The deadline of the client ends the call, and the service notices: it counts the calls that ended so."""
    ended = channel.unary_unary("/test.Echo/Ended")
    before = int(ended(b"", timeout=TIMEOUT))
    try:
        channel.unary_unary("/test.Echo/Hang")(b"", timeout=0.5)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    else:
        raise AssertionError("no error")
    call = channel.unary_stream("/test.Echo/Endless")(b"", timeout=TIMEOUT)
    assert next(call) == b"more"
    call.cancel()
    end = time.monotonic() + TIMEOUT
    while int(ended(b"", timeout=TIMEOUT)) < before + 2:
        assert time.monotonic() < end, "the service does not notice"
        time.sleep(0.02)


def check_parallel(channel):
    failures = []

    def many():
        try:
            for _ in range(20):
                check_unary(channel)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]


def main():
    options = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(sys.argv[1], options) as channel:
        for check in (check_unary, check_failures, check_streams, check_both, check_deadline, check_parallel):
            check(channel)
            print(check.__name__, flush=True)


main()
