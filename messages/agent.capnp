@0xc06ec37b35ec54b7;
# What the daemon and the agent inside a virtual machine say to each other: Cap'n Proto RPC over a serial port of the
# machine. How a session begins and ends on that is in backends/instance/agent/line.hpp.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::guest");
using Json = import "json.capnp";
using Error = import "error.capnp".Error;
using FileJob = import "helper.capnp".FileJob;

interface Agent {
  exec     @0 (plan :Plan, output :ByteStream, error :ByteStream) -> (failure :Error, process :Process, input :ByteStream);
  # Answered when the command runs. A terminal has `output` only.
  file     @1 (job :FileJob, output :ByteStream) -> (input :ByteStream);
  # A socket to who does that job in a process of its own; `input` dropped: it is killed. What it says is in helper.capnp.
  report   @2 () -> (report :Report);
  shutdown @3 (reboot :Bool) -> (failure :Error);
  # Answered when the guest's init has been told.
  setClock @4 (nanoseconds :Int64) -> (failure :Error);   # since the epoch
}

interface ByteStream {
  # Flow-controlled: the writer waits when the reader does not keep up.
  write @0 (bytes :Data) -> stream;
  end   @1 ();              # no more bytes; answered when the receiver has dealt with all of them
}

interface Process {
  # Dropped: the command is killed, or hung up when it has a terminal.
  wait   @0 () -> (status :Int32);    # exit status, 128 + n for a signal; answered when the streams have all its output
  signal @1 (number :Int32);
  resize @2 (width :UInt16, height :UInt16);
}

struct Plan {
  command     @0 :List(Text);
  environment @1 :List(Json.KeyValue);   # complete, but for what every command needs (PATH, HOME, ...)
  uid         @2 :UInt32;
  gid         @3 :UInt32;
  cwd         @4 :Text;                  # empty: the user's home
  interactive @5 :Bool;                  # has a terminal
  width       @6 :UInt16;
  height      @7 :UInt16;
}

struct Report {
  # guest_report of the driver's interface; bytes.
  processes   @0 :Int64;
  memoryTotal @1 :Int64;
  memoryUsed  @2 :Int64;
  memoryPeak  @3 :Int64;
  swapUsed    @4 :Int64;
  rootUsed    @5 :Int64;
  rootTotal   @6 :Int64;
  os          @7 :Text;
  osVersion   @8 :Text;
  kernel      @9 :Text;
  hostname   @10 :Text;
  cards      @11 :List(Card);
  struct Address { family @0 :Text; address @1 :Text; scope @2 :Text; prefix @3 :UInt32; }
  struct Card {
    name            @0 :Text;
    hwaddr          @1 :Text;
    state           @2 :Text;
    type            @3 :Text;
    mtu             @4 :UInt32;
    received        @5 :UInt64;
    sent            @6 :UInt64;
    packetsReceived @7 :UInt64;
    packetsSent     @8 :UInt64;
    errorsReceived  @9 :UInt64;
    errorsSent     @10 :UInt64;
    dropsReceived  @11 :UInt64;
    dropsSent      @12 :UInt64;
    addresses      @13 :List(Address);
  }
}
