//! The embedded sample.

use ferrolite::datasets::{self, Images};

#[test]
fn the_sample_is_whole_and_balanced() {
    let data = datasets::fashion_mnist_sample();
    for (images, each) in [(&data.train, 600), (&data.test, 100)] {
        assert_eq!((images.rows, images.columns, images.len()), (28, 28, 10 * each));
        assert_eq!(images.pixels.len(), images.len() * images.size());
        for class in 0..10 {
            assert_eq!(images.labels.iter().filter(|&&label| label == class).count(), each);
        }
    }
    assert_eq!(data.classes.len(), 10);
    // The mean of the full training set is 72.9; its first image is an ankle boot.
    let mean = data.train.pixels.iter().map(|&p| u64::from(p)).sum::<u64>() / data.train.pixels.len() as u64;
    assert!((70..76).contains(&mean), "{mean}");
    assert_eq!((data.train.labels[0], data.train.image(0)[..28].iter().max()), (9, Some(&0)));
    assert!(data.train.labels[..60] != [9; 60], "classes are mixed");
}

#[test]
fn packing_gives_the_sample_back() {
    let mut data = datasets::fashion_mnist_sample();
    let few = |images: &Images| images.slice(0..20);
    (data.train, data.test) = (few(&data.train), few(&data.test));
    let packed = datasets::pack_sample(&data);
    let (pixels, rows, columns) = datasets::packed::unpack(&packed[8 + 40..]).unwrap();
    assert_eq!((rows, columns), (28, 28));
    assert_eq!(pixels, [data.train.pixels, data.test.pixels].concat());
}

#[test]
fn missing_files_are_named() {
    let error = datasets::fashion_mnist(std::path::Path::new("/no/such/folder")).unwrap_err();
    assert!(error.to_string().contains("train-images-idx3-ubyte"), "{error}");
    assert!(error.help().unwrap().contains("dataset-fashion-mnist"));
}
