//! Makes the embedded sample from the full data: the first 600 training and 100 test images of each class.
//!
//! `cargo run --release -p ferrolite --example pack_sample -- /usr/share/datasets/fashion-mnist \
//!  crates/ferrolite/data/fashion-mnist-sample.bin`

use ferrolite::datasets::{self, Images};
use std::path::Path;

fn first_of_each_class(all: &Images, each: usize) -> Images {
    let mut seen = [0usize; 256];
    let mut chosen = Images { rows: all.rows, columns: all.columns, ..Images::default() };
    for (i, &class) in all.labels.iter().enumerate() {
        let seen = &mut seen[usize::from(class)];
        *seen += 1;
        if *seen <= each {
            chosen.pixels.extend(all.image(i));
            chosen.labels.push(class);
        }
    }
    chosen
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [data, out] = &args[..] else { return Err("usage: pack_sample DATA-DIR OUT-FILE".into()) };
    let mut dataset = datasets::fashion_mnist(Path::new(data))?;
    dataset.train = first_of_each_class(&dataset.train, 600);
    dataset.test = first_of_each_class(&dataset.test, 100);
    let bytes = datasets::pack_sample(&dataset);
    ferrolite::files::write(Path::new(out), &bytes)?;
    println!("{} training and {} test images in {} bytes", dataset.train.len(), dataset.test.len(), bytes.len());
    Ok(())
}
