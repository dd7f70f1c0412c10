"""A gRPC service without generated code: messages are bytes. Prints its port.

With the files of a certificate and its key, it is served with TLS.
"""

import sys
import threading
import time
from concurrent import futures

import grpc


def unary(request, context):
    context.send_initial_metadata((("x-initial", "first"),))
    context.set_trailing_metadata((("x-trailing", "last"), ("x-data-bin", b"\x00\xff")))
    if request == b"fail":
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: 100 %")
    return b"echo " + request


def server_stream(request, context):
    for number in range(int(request)):
        yield b"part %d" % number
    context.set_trailing_metadata((("x-trailing", "last"),))


def client_stream(requests, _context):
    return b"received %d" % sum(len(request) for request in requests)


def both(requests, _context):
    for request in requests:
        yield b"echo " + request


ENDED = []


def hang(_request, context):
    over = threading.Event()
    context.add_callback(over.set)
    over.wait(30)
    ENDED.append("Hang")
    return b"too late"


def endless(_request, context):
    context.add_callback(lambda: ENDED.append("Endless"))
    while context.is_active():
        yield b"more"
        time.sleep(0.01)


def ended(_request, _context):
    return b"%d" % len(ENDED)


HANDLERS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
    "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
    "Hang": grpc.unary_unary_rpc_method_handler(hang),
    "Ended": grpc.unary_unary_rpc_method_handler(ended),
    "Endless": grpc.unary_stream_rpc_method_handler(endless),
    "Both": grpc.stream_stream_rpc_method_handler(both),
}


def main():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
    handler = grpc.method_handlers_generic_handler("test.Echo", HANDLERS)
    server.add_generic_rpc_handlers((handler,))
    if len(sys.argv) > 1:
        certificate, key = (open(path, "rb").read() for path in sys.argv[1:3])
        credentials = grpc.ssl_server_credentials([(key, certificate)])
        port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    # Until the test closes it.
    sys.stdin.read()
    server.stop(None)


main()
