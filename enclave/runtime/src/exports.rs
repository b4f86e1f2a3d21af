//! The functions of a component: found once at load, then by name.

use boundary_wire::client::{NamedType, WitType};
use serde_json::{Value, json};
use wasmtime::Engine;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex};

use crate::error::CallError;
use crate::value;

/// A function that can be called from outside.
#[derive(Clone)]
pub struct Export {
    /// As `wasm_call` takes it: `function`, or `pkg:name/interface@1.0.0#function`.
    pub name: String,
    /// How many parameters it takes.
    pub param_count: usize,
    /// How many results it gives: none or one.
    pub result_count: usize,
    pub(crate) params: Vec<NamedType>,
    pub(crate) results: Vec<WitType>,
    pub(crate) index: ComponentExportIndex,
}

/// All of them, in the component's order.
pub(crate) struct Exports(Vec<Export>);

impl Exports {
    /// Reads them from a component. Methods and constructors of resources, which need a handle that no
    /// client can hold, are left out.
    pub(crate) fn of(component: &Component, engine: &Engine) -> Self {
        let ty = component.component_type();
        let mut found = Vec::new();
        for (name, item) in ty.exports(engine) {
            match item.ty {
                ComponentItem::ComponentFunc(func) => {
                    found.extend(export(component, None, name.to_owned(), name, &func));
                }
                ComponentItem::ComponentInstance(instance) => {
                    let index = component.get_export_index(None, name);
                    for (function, item) in instance.exports(engine) {
                        if let (Some(index), ComponentItem::ComponentFunc(func)) = (&index, item.ty) {
                            let full = format!("{name}#{function}");
                            found.extend(export(component, Some(index), full, function, &func));
                        }
                    }
                }
                _ => {}
            }
        }
        Self(found)
    }

    pub(crate) fn all(&self) -> &[Export] {
        &self.0
    }

    /// The export that `name` means: in full, or without package, version or interface where only one
    /// fits.
    pub(crate) fn find(&self, name: &str) -> Result<&Export, CallError> {
        if let Some(exact) = self.0.iter().find(|export| export.name == name) {
            return Ok(exact);
        }
        let fitting: Vec<_> = self.0.iter().filter(|export| fits(name, &export.name)).collect();
        match fitting.as_slice() {
            [only] => Ok(only),
            [] => Err(CallError::UnknownFunction {
                name: name.chars().take(100).collect(),
                exports: self.0.iter().map(|export| export.name.clone()).collect(),
            }),
            several => Err(CallError::Ambiguous {
                name: name.to_owned(),
                candidates: several.iter().map(|export| export.name.clone()).collect(),
            }),
        }
    }

    /// `{"exports":[{"name","params","results"}]}` with WIT types.
    pub(crate) fn schema(&self) -> Value {
        let exports: Vec<_> = self
            .0
            .iter()
            .map(|export| json!({ "name": export.name, "params": export.params, "results": export.results }))
            .collect();
        json!({ "exports": exports })
    }
}

fn export(
    component: &Component,
    instance: Option<&ComponentExportIndex>,
    name: String,
    function: &str,
    ty: &ComponentFunc,
) -> Option<Export> {
    if function.starts_with('[') {
        return None;
    }
    let params: Vec<_> =
        ty.params().map(|(name, ty)| NamedType { name: name.to_owned(), ty: value::of_type(&ty) }).collect();
    let results: Vec<_> = ty.results().map(|ty| value::of_type(&ty)).collect();
    Some(Export {
        index: component.get_export_index(instance, function)?,
        name,
        param_count: params.len(),
        result_count: results.len(),
        params,
        results,
    })
}

/// Whether `short` can stand for `full`, which is `[pkg:name/]interface[@version]#function`.
fn fits(short: &str, full: &str) -> bool {
    let Some((interface, function)) = full.split_once('#') else { return false };
    match short.split_once('#') {
        None => short == function,
        Some((wanted, wanted_function)) => {
            let unversioned = interface.split_once('@').map_or(interface, |(name, _)| name);
            let bare = unversioned.rsplit_once('/').map_or(unversioned, |(_, name)| name);
            wanted_function == function && (wanted == unversioned || wanted == bare)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn short_names() {
        let full = "shop:cart/checkout@1.2.0#pay";
        for short in ["pay", "checkout#pay", "shop:cart/checkout#pay"] {
            assert!(fits(short, full), "{short}");
        }
        for other in
            ["checkout", "check#pay", "cart/checkout#pay", "shop:cart/checkout@1.2.1#pay", "#pay", ""]
        {
            assert!(!fits(other, full), "{other}");
        }
        assert!(!fits("hello", "hello"), "an exact name is not a short one");
    }
}
