@0xd42ec56614e1b995;
# What the daemon and troupe-lxc say to each other: one socketpair per job, which carries one request, one answer
# (exec: a second one when the command ended) and file descriptors by SCM_RIGHTS.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");
using Json = import "json.capnp";
using Error = import "error.capnp".Error;

struct HelperJob {
  key      @0 :Text;    # the container's name for liblxc
  lxcpath  @1 :Text;
  stage    @2 :Text;    # an empty directory on which a job may mount, in a mount namespace of its own
  seconds  @3 :UInt32;  # the job is killed after this time, 0: never
  union {
    start       @4 :StartJob;
    find        @5 :Void;
    awaitReboot @6 :Void;
    freeze      @7 :Void;
    unfreeze    @8 :Void;
    consoleLog  @9 :Bool;       # true: empty it afterwards
    exec        @10 :ExecJob;
    file        @11 :FileJob;
    console     @12 :ConsoleJob;
    plug        @13 :PlugJob;
    deviceRule  @14 :DeviceRule;
  }
}

struct RootView {
  # root_mount and id_range of the driver's interface.
  path    @0 :Text;
  lower   @1 :Text;
  upper   @2 :Text;
  work    @3 :Text;
  shifted @4 :Bool;     # ids are rewritten on disk
  hostId  @5 :UInt32;
  idCount @6 :UInt32;   # 0: privileged
  uidMap  @7 :Text;     # for a boot: as the kernel's uid_map; empty: privileged
  gidMap  @8 :Text;
}

struct StartJob {
  root     @0 :RootView;
  settings @1 :List(Json.KeyValue);   # liblxc keys in order; repeated keys are lists
  files    @2 :List(BootFile);
  logFile  @3 :Text;
  prefix   @4 :Text;                  # the cgroup that holds those of all instances of this daemon
  mounts   @5 :List(MountView);
  nodes    @6 :List(NodeView);
  struct BootFile { path @0 :Text; content @1 :Data; createOnly @2 :Bool; }
}

struct ExecJob {
  # Descriptors: standard input, output and error, unless interactive.
  command     @0 :List(Text);
  environment @1 :List(Json.KeyValue);
  uid         @2 :UInt32;
  gid         @3 :UInt32;
  cwd         @4 :Text;
  interactive @5 :Bool;
  width       @6 :UInt16;
  height      @7 :UInt16;
  operation   @8 :Text;     # not empty: the command outlives the daemon, which finds it again by this name
  note        @9 :Data;     # what it then wants to know
  ends       @10 :UInt8;    # bit n: behind those descriptors comes the daemon's end of stream n
  record     @11 :UInt64;   # not 0: output and error are files; the job copies so many bytes of each there
  unattended @12 :Bool;     # nobody reads its terminal yet
}

struct ExecVisit { attend @0 :Bool; }   # a daemon that comes to a running exec: answered by `kept`; see helper/exec_keeper.hpp

struct ConsoleJob { width @0 :UInt16; height @1 :UInt16; }   # answered by `running` and a socket of its bytes

struct FileJob {
  leader @0 :Int32;   # 0: the instance is stopped, `root` tells where it is
  root   @1 :RootView;
  path   @2 :Text;
  union {
    read   @3 :Void;
    write  @4 :Write;
    remove @5 :Void;
    sftp   @6 :Void;   # answered by `done`; then the job's own socket speaks SFTP
  }
  struct Write {
    type   @0 :UInt8;     # 'f', 'd', 'l'
    append @1 :Bool;
    uid    @2 :Int64 = -1;  # -1: not given
    gid    @3 :Int64 = -1;
    mode   @4 :Int64 = -1;
    target @5 :Text;
  }
}

struct MountView {
  # mount_plan of the driver's interface.
  source      @0 :Text;   # empty: a tmpfs
  beneath     @1 :Text;
  path        @2 :Text;
  options     @3 :Text;
  propagation @4 :Text;
  readonly    @5 :Bool;
  recursive   @6 :Bool;
  shift       @7 :Bool;
  required    @8 :Bool;
}

struct NodeView {
  path  @0 :Text;
  type  @1 :UInt8;      # 'c', 'b'
  major @2 :UInt32;
  minor @3 :UInt32;
  mode  @4 :UInt32;
  uid   @5 :UInt32;     # as the instance sees them
  gid   @6 :UInt32;
}

struct PlugJob {
  # Adds to a running instance, or takes away.
  leader  @0 :Int32;
  hostId  @1 :UInt32;
  idCount @2 :UInt32;   # 0: privileged
  remove  @3 :Bool;
  union {
    mount @4 :MountView;
    node  @5 :NodeView;
  }
}

struct DeviceRule { allow @0 :Bool; rule @1 :Text; }   # "c 10:229 rwm", where only liblxc can (cgroup v2)

struct HelperAnswer {
  union {
    error   @0 :Error;
    done    @1 :Void;
    found   @2 :Found;     # start: with the pidfds of leader and monitor
    running @3 :Void;      # exec: the command runs; with the pty's master when interactive
    ended   @4 :Int32;     # exec: exit status, 128 + n for a signal
    log     @5 :Data;
    file    @6 :FileInfo;  # a regular file: with its content as a descriptor
    kept    @7 :Kept;      # exec: with the pty's master, or the ends that `ends` tells
  }
  struct Found {
    leader       @0 :Int32;    # 0: nothing runs
    monitor      @1 :Int32;
    monitorStart @2 :UInt64;
  }
  struct Kept {
    note   @0 :Data;
    ends   @1 :UInt8;      # bit n: the daemon's end of stream n is there; 0: a terminal or nothing
    output @2 :Data;       # what came while nobody was there; of a terminal everything
    error  @3 :Data;
    lost   @4 :UInt64;     # bytes that came before these
  }
  struct FileInfo {
    type     @0 :UInt8;
    uid      @1 :UInt32;
    gid      @2 :UInt32;
    mode     @3 :UInt32;
    size     @4 :UInt64;
    modified @5 :Int64;
    target   @6 :Text;
    entries  @7 :List(Text);
    streamed @8 :Bool;   # the content follows on the job's own socket
  }
}

struct HelperSignal {
  # The daemon to a running exec or console job.
  number @0 :Int32;      # 0: none
  width  @1 :UInt16;
  height @2 :UInt16;
  close  @3 :UInt8;      # bit n: nobody needs the daemon's end of stream n any more
  forget @4 :Bool;       # the end was taken note of: the job may end, too
}
