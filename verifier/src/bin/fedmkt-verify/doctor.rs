//! What this computer can verify with.

use fedmkt_core::manifest::SizeClass;
use fedmkt_runtime::engine::Native;
use fedmkt_verifier::cartesi::Cartesi;
use fedmkt_verifier::machine::Machine;
use fedmkt_verifier::qemu::Qemu;
use fedmkt_verifier::release::Release;
use fedmkt_verifier::step::Image;

use crate::{Exit, OrExit, Outcome, arguments, machines};

pub fn doctor() -> Outcome<()> {
    println!("native   yes  {}: recomputes whole runs", Native::name());
    match Image::find() {
        Ok(image) => {
            println!("replayer yes  {} ({} bytes)", image.path().display(), image.bytes().len());
            println!("              sha256 {}", image.sha256());
            match Release::of(&image) {
                Some(release) => println!("              release {}", release.name),
                None => {
                    println!("              of no release: its machine hashes are not those that jobs are judged by")
                }
            }
        }
        Err(why) => println!("replayer no   {why}"),
    }
    match Qemu::find() {
        Ok(qemu) => println!("QEMU     yes  {}: replays steps on another processor; yields no hash", qemu.name()),
        Err(why) => println!("QEMU     no   {why}"),
    }
    match Cartesi::find() {
        Ok(cartesi) => println!("Cartesi  yes  {}: replays steps, and yields hashes for a contract", cartesi.name()),
        Err(why) => println!("Cartesi  no   {why}"),
    }
    Ok(())
}

pub fn template(arguments: &arguments::Image) -> Outcome<()> {
    let image = machines::image(arguments)?;
    let cartesi = Cartesi::find().or_exit(Exit::Host)?;
    println!("# The node over the addresses below 2^32 of the {}, by size class.", cartesi.name());
    println!("[low]");
    for class in SizeClass::ALL {
        let template = cartesi.template(&image, class, &std::env::temp_dir()).or_exit(Exit::Host)?;
        println!("{class:?} = \"{}\"", template.low);
    }
    Ok(())
}
