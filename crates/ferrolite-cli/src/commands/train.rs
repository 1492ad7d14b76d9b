use super::print;
use crate::args::{LinearArgs, TrainArgs, TrainCommand};
use crate::interrupt;
use ferrolite::train::linear::{self, LinearOptions};
use ferrolite::{Error, files};

pub fn run(args: &TrainArgs) -> Result<(), Error> {
    match &args.what {
        TrainCommand::Linear(args) => line(args),
    }
}

fn line(args: &LinearArgs) -> Result<(), Error> {
    interrupt::watch();
    let epochs = args.epochs as usize;
    let options =
        LinearOptions { epochs, learning_rate: args.learning_rate, seed: args.seed, ..LinearOptions::default() };
    let done = linear::run(&options, &mut |epoch, loss| {
        if epoch == 1 || epoch % epochs.div_ceil(10) == 0 {
            print(&format!("epoch {epoch:>4}/{epochs}  loss {loss:.6}"));
        }
        interrupt::go_on()
    })?;
    let (model, page) = (args.out.join("linear.tflite"), args.out.join("linear.html"));
    files::create_dir(&args.out)?;
    files::write(&model, &done.model.to_bytes()?)?;
    files::write(&page, done.to_html().as_bytes())?;
    print(&format!("\nlearned {}   (w = {:.5}, b = {:.5})", done.formula(), done.weight, done.bias));
    print(&format!("worst error at {} random inputs: {:.5}\n", done.predictions.len(), done.worst_error()));
    print(&done.text_plot(60, 16));
    print(&format!("\nwrote {} and {}", model.display(), page.display()));
    Ok(())
}
