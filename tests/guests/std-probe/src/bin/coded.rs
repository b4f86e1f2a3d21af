//! A program that ends with a code of its own, which the standard library cannot.

wit_bindgen::generate!({
    path: "../../../sdk/wit",
    inline: "
        package test:coded@1.0.0;

        world coded {
            import wasi:cli/exit@0.2.12;
        }
    ",
    world: "test:coded/coded",
    generate_all,
});

fn main() {
    println!("before");
    wasi::cli::exit::exit_with_code(42);
}
