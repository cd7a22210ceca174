//! tmp
#![allow(clippy::print_stdout)]
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let start = std::time::Instant::now();
    let d = engraft_datasets::open(&path).unwrap();
    println!("open {:?} {} {}", start.elapsed(), d.num_episodes(), d.num_steps());
    let start = std::time::Instant::now();
    println!("{:?}", d.info().unwrap().warnings);
    println!("info {:?}", start.elapsed());
    let start = std::time::Instant::now();
    for i in 0..100 {
        d.episode(i * 7 % d.num_episodes()).unwrap();
    }
    println!("100 episodes {:?}", start.elapsed());
}
