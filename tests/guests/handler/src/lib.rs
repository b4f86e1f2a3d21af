//! The handler of the guide, as it stands there: bindings are generated, the rest is `Guest` and `export!`.

wit_bindgen::generate!({
    path: [
        "../../../sdk/wit/deps/io",
        "../../../sdk/wit/deps/clocks",
        "../../../sdk/wit/deps/random",
        "../../../sdk/wit/deps/filesystem",
        "../../../sdk/wit/deps/sockets",
        "../../../sdk/wit/deps/cli",
        "../../../sdk/wit/deps/http",
    ],
    world: "wasi:http/proxy@0.2.12",
    generate_all,
});

use exports::wasi::http::incoming_handler::Guest;
use wasi::http::types::*;

struct MyApp;

impl Guest for MyApp {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();

        let response = OutgoingResponse::new(Fields::new());
        response.set_status_code(200).unwrap();

        let body = response.body().unwrap();
        let stream = body.write().unwrap();

        match path.as_str() {
            "/hello" => stream.write(b"Hello from inside SGX!").unwrap(),
            _ => stream.write(b"Unknown path").unwrap(),
        }

        drop(stream);
        OutgoingBody::finish(body, None).unwrap();
        ResponseOutparam::set(response_out, Ok(response));
    }
}

export!(MyApp);
