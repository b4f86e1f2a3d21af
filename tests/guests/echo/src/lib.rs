//! Gives back what it gets: one function for every type of the component model.

wit_bindgen::generate!({ path: "wit", world: "echo" });

use exports::test::echo::{others, shapes};

struct Echo;

macro_rules! echoes {
    ($($name:ident: $value:ty;)*) => {
        $(fn $name(value: $value) -> $value {
            value
        })*
    };
}

impl Guest for Echo {
    echoes! {
        echo_bool: bool;
        echo_s8: i8;
        echo_s16: i16;
        echo_s32: i32;
        echo_s64: i64;
        echo_u8: u8;
        echo_u16: u16;
        echo_u32: u32;
        echo_u64: u64;
        echo_f32: f32;
        echo_f64: f64;
        echo_char: char;
        echo_string: String;
        echo_bytes: Vec<u8>;
        echo_list: Vec<Vec<String>>;
        echo_tuple: (bool, i64, String);
        echo_option: Option<u32>;
        echo_nested_option: Option<Option<u32>>;
        echo_result: Result<u32, String>;
        echo_bare_result: Result<(), ()>;
        echo_half_result: Result<(), String>;
    }

    fn nothing() {}

    fn join(first: String, second: u32, third: bool) -> String {
        format!("{first}/{second}/{third}")
    }

    fn count(bytes: Vec<u8>) -> u64 {
        bytes.len() as u64
    }

    fn produce(length: u32) -> Vec<u8> {
        (0..length).map(|n| n as u8).collect()
    }
}

impl shapes::Guest for Echo {
    echoes! {
        echo_point: shapes::Point;
        echo_shape: shapes::Shape;
        echo_colour: shapes::Colour;
        echo_permissions: shapes::Permissions;
        echo_drawing: shapes::Drawing;
        echo_drawings: Vec<shapes::Drawing>;
    }

    fn which() -> String {
        "shapes".to_owned()
    }
}

impl others::Guest for Echo {
    fn which() -> String {
        "others".to_owned()
    }

    fn only_here() -> String {
        "here".to_owned()
    }
}

export!(Echo);
