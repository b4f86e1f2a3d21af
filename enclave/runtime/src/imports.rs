//! What a component imports and the enclave does not have: all of it at once.

use enclave_wasi::INTERFACES;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre, Linker, ResourceType};

/// Resolves the imports, or names every one that is missing.
///
/// The engine reports the first missing import only. So that import is given stand-ins in a copy of the
/// linker, and the engine asked again, until it is content or something else is wrong.
pub(crate) fn resolve<T: 'static>(
    linker: &Linker<T>,
    component: &Component,
) -> Result<InstancePre<T>, Vec<String>> {
    let mut error = match linker.instantiate_pre(component) {
        Ok(ready) => return Ok(ready),
        Err(error) => error,
    };
    let ty = component.component_type();
    let imports: Vec<_> =
        ty.imports(linker.engine()).map(|(name, item)| (name.to_owned(), item.ty)).collect();
    let mut stand_ins = linker.clone();
    stand_ins.allow_shadowing(true);
    let mut missing = Vec::new();
    // Each round replaces one import for good, so there are at most as many rounds as imports.
    for _ in 0..=imports.len() {
        let head = error.to_string();
        let found = imports.iter().find(|(name, _)| head.contains(&format!("`{name}`")));
        let Some((name, item)) =
            found.filter(|(name, _)| !missing.iter().any(|m: &Missing| m.import == *name))
        else {
            missing.push(Missing { import: whole(&error), detail: None });
            break;
        };
        missing.push(Missing { import: name.clone(), detail: detail(&error) });
        if stand_in(&mut stand_ins, name, item).is_err() {
            break;
        }
        match stand_ins.instantiate_pre(component) {
            Ok(_) => break,
            Err(next) => error = next,
        }
    }
    Err(missing.into_iter().map(Missing::text).collect())
}

struct Missing {
    import: String,
    detail: Option<String>,
}

impl Missing {
    fn text(self) -> String {
        match (self.detail, instead(&self.import)) {
            (_, Some(instead)) => format!("{} (here: {instead})", self.import),
            (Some(detail), None) => format!("{} ({detail})", self.import),
            (None, None) => self.import,
        }
    }
}

/// The same interface at the version that is offered, if that is another one.
fn instead(import: &str) -> Option<String> {
    let (name, wanted) = import.split_once('@')?;
    let offered: Vec<_> = INTERFACES.iter().filter(|offered| offered.interface == name).collect();
    let is_offered = offered.iter().any(|offered| match wanted.strip_prefix(offered.version) {
        Some(rest) => rest.is_empty() || (rest.starts_with('.') && !rest.contains('-')),
        None => false,
    });
    let named: Vec<_> = offered.iter().map(|offered| format!("{name}@{}", offered.version)).collect();
    (!is_offered && !named.is_empty()).then(|| named.join(" or "))
}

/// What about an interface is wrong, if more than that it is absent.
fn detail(error: &wasmtime::Error) -> Option<String> {
    let text = error.chain().skip(1).map(ToString::to_string).collect::<Vec<_>>().join(": ");
    (!text.is_empty()).then_some(text)
}

fn whole(error: &wasmtime::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Defines an import of that name and shape that does nothing; it is never run.
fn stand_in<T: 'static>(linker: &mut Linker<T>, name: &str, item: &ComponentItem) -> wasmtime::Result<()> {
    let engine = linker.engine().clone();
    match item {
        ComponentItem::ComponentFunc(_) => linker.root().func_new(name, |_, _, _, _| Ok(())),
        ComponentItem::ComponentInstance(instance) => {
            let mut inside = linker.instance(name)?;
            for (name, item) in instance.exports(&engine) {
                match item.ty {
                    ComponentItem::ComponentFunc(_) => inside.func_new(name, |_, _, _, _| Ok(()))?,
                    ComponentItem::Resource(_) => {
                        inside.resource(name, ResourceType::host::<()>(), |_, _| Ok(()))?;
                    }
                    _ => {}
                }
            }
            Ok(())
        }
        ComponentItem::Resource(_) => linker.root().resource(name, ResourceType::host::<()>(), |_, _| Ok(())),
        _ => Err(wasmtime::Error::msg("no stand-in")),
    }
}

#[cfg(test)]
mod tests;
