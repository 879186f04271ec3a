#!/usr/bin/perl
# The apps of the machine: apps.pl WHAT.
use strict;
use warnings;
use POSIX qw(pause);

$| = 1;
my $what = shift // '';
my $flag = shift // '';

# Numbered lines, without end. The signal of a stop ends it with a last word.
if ($what eq 'write') {
    $SIG{INT} = sub { print "bye of $$\n"; exit 0 };
    for (my $n = 1; ; $n++) {
        print "run $$ line $n\n";
        select undef, undef, undef, 0.02;
    }
}

# Takes 160 MiB once a file of this name is there; the file goes, so that the next run is well.
if ($what eq 'eat') {
    my @eaten;
    while (1) {
        if (unlink $flag) {
            push @eaten, 'x' x (4 << 20) while @eaten < 40;
        }
        select undef, undef, undef, 0.05;
    }
}

# Takes all the time of one CPU.
if ($what eq 'spin') {
    while (1) { }
}

# A family that leaves: sessions of their own, parents that have ended, deaf to every signal.
if ($what eq 'family') {
    $SIG{$_} = 'IGNORE' for qw(TERM INT HUP QUIT);
    for (1 .. 5) {
        next if fork;
        POSIX::setsid();
        exit 0 if fork;
        sleep 1 while 1;
    }
    sleep 1 while 1;
}

pause while 1;
