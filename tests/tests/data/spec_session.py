import json, socket, ssl, struct
def frame(data):
    return struct.pack(">I", len(data)) + data

# Connect via RA-TLS
ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
ctx.check_hostname = False
ctx.verify_mode = ssl.CERT_NONE # or verify against RA-TLS CA
sock = ctx.wrap_socket(
    socket.create_connection(("127.0.0.1", 8443)),
    server_hostname="127.0.0.1",
)

# Load the WASM app
with open("wasm_example.cwasm", "rb") as f:
    wasm_bytes = list(f.read())

load_req = json.dumps({
    "wasm_load": {"name": "my-app", "bytes": wasm_bytes}
}).encode()
sock.sendall(frame(json.dumps({"Data": list(load_req)}).encode()))

# Read response (simplified — production code should handle partial reads)
buf = sock.recv(65536)
length = struct.unpack(">I", buf[:4])[0]
resp = json.loads(buf[4:4+length])
inner = json.loads(bytes(resp["Data"]))
print("Loaded:", json.dumps(inner, indent=2))

# Call a function
call_req = json.dumps({
    "wasm_call": {"app": "my-app", "function": "hello", "params": []}
}).encode()
sock.sendall(frame(json.dumps({"Data": list(call_req)}).encode()))
buf = sock.recv(65536)
length = struct.unpack(">I", buf[:4])[0]
resp = json.loads(buf[4:4+length])
result = json.loads(bytes(resp["Data"]))
print("Result:", json.dumps(result, indent=2))
# {"status": "ok", "returns": [{"type": "string", "value": "Hello, World!"}]}
sock.close()
