use super::{print, print_json};
use crate::args::InfoArgs;
use crate::format;
use crate::table::{Align, Table};
use ferrolite::info::{ModelInfo, SubgraphInfo};
use ferrolite::{Catalog, Error, files};
use std::fmt::Write;

/// How many constants and nodes the short form shows.
const LARGEST: usize = 10;
const NODES: usize = 60;

pub fn run(args: &InfoArgs) -> Result<(), Error> {
    let model = files::map_model(&args.model)?;
    let info = ModelInfo::new(&model, &Catalog::builtin());
    if args.json {
        return print_json(&info);
    }
    if args.dump {
        print(&model.dump());
        return Ok(());
    }
    let size = std::fs::metadata(&args.model).map_err(|e| Error::io(&args.model, e))?.len();
    let mut out = String::new();
    let shown = args.model.display();
    let _ = writeln!(out, "{shown}: {}, {}\n", format::bytes(size), info.quantization);
    facts(&mut out, &info);
    operators(&mut out, &info);
    for (i, graph) in info.subgraphs.iter().enumerate() {
        subgraph(&mut out, i, graph);
    }
    constants(&mut out, &info, size);
    print(&out);
    Ok(())
}

fn facts(out: &mut String, info: &ModelInfo) {
    let constants = format::bytes(info.constant_bytes);
    let _ = writeln!(out, "parameters   {} ({constants})", format::count(info.parameters));
    let _ = writeln!(out, "MACs         {}", format::short_count(info.macs));
    let _ = writeln!(out, "schema       version {}", info.version);
    if !info.description.is_empty() {
        let _ = writeln!(out, "description  {}", format::shorten(&info.description, 90));
    }
    for entry in &info.metadata {
        let text = entry.text.clone().unwrap_or_else(|| format::bytes(entry.bytes as u64));
        let _ = writeln!(out, "metadata     {}: {text}", entry.name);
    }
    for signature in &info.signatures {
        let names =
            |list: &[(String, usize)]| list.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        let (inputs, outputs) = (names(&signature.inputs), names(&signature.outputs));
        let graph =
            if info.subgraphs.len() > 1 { format!(" (subgraph {})", signature.subgraph) } else { String::new() };
        let _ = writeln!(out, "signature    {}: {inputs} → {outputs}{graph}", signature.key);
    }
}

fn operators(out: &mut String, info: &ModelInfo) {
    let mut table = Table::new(&[
        ("operator", Align::Left),
        ("version", Align::Right),
        ("nodes", Align::Right),
        ("MACs", Align::Right),
        ("", Align::Left),
    ]);
    for op in &info.operators {
        let note = if op.is_known { "" } else { "not known to ferrolite" };
        let macs = if op.macs == 0 { String::new() } else { format::short_count(op.macs) };
        table.row([op.name.clone(), op.version.to_string(), op.count.to_string(), macs, note.to_owned()]);
    }
    if !table.is_empty() {
        let _ = write!(out, "\n{table}");
    }
}

fn subgraph(out: &mut String, i: usize, graph: &SubgraphInfo) {
    let (tensors, nodes) = (graph.tensors.len(), graph.nodes.len());
    let _ = writeln!(out, "\nsubgraph {i} {:?}: {tensors} tensors, {nodes} nodes", graph.name);
    let mut table = Table::new(&[
        ("", Align::Left),
        ("tensor", Align::Right),
        ("name", Align::Left),
        ("type", Align::Left),
        ("shape", Align::Left),
        ("quantization", Align::Left),
    ]);
    let ends = [("input", &graph.inputs), ("output", &graph.outputs)];
    let listed = ends.iter().flat_map(|(role, ids)| ids.iter().map(|&id| (*role, id)));
    for (role, tensor) in listed.filter_map(|(role, id)| Some((role, graph.tensors.get(id)?))) {
        table.row([
            role.to_owned(),
            tensor.id.to_string(),
            format::shorten(&tensor.name, 40),
            tensor.ty.clone(),
            format::shape(&tensor.shape),
            tensor.quantization.clone(),
        ]);
    }
    let _ = write!(out, "{table}");
    if nodes > 0 {
        let _ = write!(out, "\n{}", node_table(graph));
    }
    if nodes > NODES {
        let _ = writeln!(out, "… and {} more; --dump shows them all", nodes - NODES);
    }
}

fn node_table(graph: &SubgraphInfo) -> Table {
    let mut table = Table::new(&[
        ("node", Align::Right),
        ("operator", Align::Left),
        ("inputs", Align::Left),
        ("outputs", Align::Left),
        ("MACs", Align::Right),
    ]);
    let typed = |id: usize| match graph.tensors.get(id) {
        Some(tensor) => format!("{}{}", tensor.ty, format::shape(&tensor.shape).replace(' ', "")),
        None => "?".to_owned(),
    };
    // The short form shows the computed inputs and the first constant, which is the weights.
    let inputs = |node: &ferrolite::info::NodeInfo| {
        let shown = node.inputs.iter().enumerate().filter(|(i, id)| {
            let constant = id.is_some_and(|id| graph.tensors.get(id).is_some_and(|t| t.role == "constant"));
            id.is_some() && (!constant || *i == 1)
        });
        shown.map(|(_, id)| id.map_or_else(|| "-".to_owned(), typed)).collect::<Vec<_>>().join(" ")
    };
    for node in graph.nodes.iter().take(NODES) {
        table.row([
            node.id.to_string(),
            node.operator.clone(),
            format::shorten(&inputs(node), 70),
            node.outputs.iter().map(|&id| typed(id)).collect::<Vec<_>>().join(" "),
            if node.macs == 0 { String::new() } else { format::short_count(node.macs) },
        ]);
    }
    table
}

fn constants(out: &mut String, info: &ModelInfo, size: u64) {
    let largest = info.largest_constants();
    if largest.is_empty() {
        return;
    }
    let mut table = Table::new(&[
        ("largest constants", Align::Left),
        ("type", Align::Left),
        ("shape", Align::Left),
        ("bytes", Align::Right),
        ("of file", Align::Right),
    ]);
    for (_, tensor) in largest.iter().take(LARGEST) {
        table.row([
            format::shorten(&tensor.name, 50),
            tensor.ty.clone(),
            format::shape(&tensor.shape),
            format::bytes(tensor.constant_bytes),
            format!("{:.1} %", 100.0 * tensor.constant_bytes as f64 / size.max(1) as f64),
        ]);
    }
    let _ = write!(out, "\n{table}");
    if largest.len() > LARGEST {
        let _ = writeln!(out, "… and {} more", largest.len() - LARGEST);
    }
}
