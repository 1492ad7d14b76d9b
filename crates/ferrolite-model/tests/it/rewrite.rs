use ferrolite_model::{BuiltinOperator, Model, min_operator_version, verify};

#[test]
fn real_models_survive_compaction_and_have_a_text_form() {
    for path in super::readable_files("real_models_survive_compaction_and_have_a_text_form") {
        let Ok(mut model) = Model::from_file(&path) else { continue };
        let path = path.display();
        let nodes = |model: &Model| model.subgraphs.iter().map(|graph| graph.nodes.len()).sum::<usize>();
        assert!(model.dump().lines().count() > nodes(&model), "{path}");

        let before = model.clone();
        let moved = model.compact();
        verify(&model).unwrap_or_else(|error| panic!("{path}, compacted: {error}"));
        for (signature, old) in model.signatures.iter().zip(&before.signatures) {
            for ((name, id), (old_name, old_id)) in signature.inputs.iter().zip(&old.inputs) {
                assert_eq!((name, Some(*id)), (old_name, moved[signature.subgraph][*old_id]), "{path}");
            }
        }
        let once = model.clone();
        model.compact();
        assert!(model == once, "{path}: compacting twice is not the same as once");
        let bytes = model.to_bytes().unwrap_or_else(|error| panic!("{path}, compacted: {error}"));
        assert!(Model::from_bytes(bytes).unwrap() == model, "{path}");
    }
}

#[test]
fn real_models_have_operator_versions_that_suffice() {
    let (mut total, mut above) = (0, Vec::new());
    for path in super::readable_files("real_models_have_operator_versions_that_suffice") {
        let Ok(model) = Model::from_file(&path) else { continue };
        for graph in &model.subgraphs {
            for node in &graph.nodes {
                let code = model.operator(node);
                // Older converters called DEQUANTIZE of float16 version 2.
                if [BuiltinOperator::CUSTOM, BuiltinOperator::DEQUANTIZE].contains(&code.builtin) {
                    continue;
                }
                let needed = min_operator_version(&model, graph, node);
                total += 1;
                if needed > code.version {
                    above.push(format!("{}: {code}, needs {needed}", path.display()));
                }
            }
        }
    }
    // Files made by hand, or by converters older than the rule, may claim less than they use.
    assert!(above.len() * 50 <= total, "{} of {total}:\n{}", above.len(), above.join("\n"));
}
