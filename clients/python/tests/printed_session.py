from ratls_client import RaTlsClient
client = RaTlsClient("server.example.com", 443, ca_cert="path/to/ca.crt")
client.connect()
# Load the WASM app
with open("wasm_example.cwasm", "rb") as f:
    wasm_bytes = list(f.read())
client.send({"wasm_load": {"name": "test-app", "bytes": wasm_bytes}})
result = client.recv()
# Call a function
client.send({"wasm_call": {"app": "test-app", "function": "hello", "params": []}})
result = client.recv()
print(result) # {"status": "ok", "returns": [{"type": "string", "value": "Hello, World!"}]}
