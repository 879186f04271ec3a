//! End-to-end tests: the real binary, real processes, one home for each test.
//!
//! Few and telling: what the pure core decides is tested there, thousands of times faster.

mod appfiles;
mod apply;
mod balance;
mod boot;
mod chapter;
mod cluster;
mod config;
mod depends;
mod doctor;
mod environment;
mod events;
mod exhausted;
mod full_disk;
mod groups;
mod homes;
mod import;
mod installed;
mod interrupted;
mod jobs;
mod life;
mod load;
mod monit;
mod output;
mod pm2;
mod ready;
mod real;
mod run;
mod security;
mod starting;
mod state;
mod survive;
mod talk;
mod watch;
mod world;
