@0xa8f65f4e12d9df38;
# Instances: the record (spec), what the host observed (status), and what may be asked of one.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");
using Json = import "json.capnp";

enum InstanceType { container @0; virtualMachine @1 $Json.name("virtual-machine"); }

struct InstanceSpec {
  # Replicated. Only the instance's own actor writes it.
  name         @0 :Text;
  project      @1 :Text;
  description  @2 :Text;
  type         @3 :InstanceType;
  architecture @4 :Text;
  ephemeral    @5 :Bool;
  stateful     @6 :Bool;
  profiles     @7 :List(Text);
  config       @8 :List(Json.KeyValue) $Json.map;
  devices      @9 :List(Json.Device) $Json.map;
  createdAt    @10 :Int64 $Json.time;
  location     @11 :Text;
  id           @12 :UInt64 $Json.hidden;   # never reused; names host-side things
  pool         @13 :Text $Json.hidden;     # where the root volume is
  idmapBase    @14 :UInt32 $Json.hidden;
  idmapSize    @15 :UInt32 $Json.hidden;
}

struct InstanceStatus {
  # Local to the member that runs it.
  enum State { stopped @0; starting @1; running @2; stopping @3; freezing @4; frozen @5; error @6; thawing @7; }
  state       @0 :State;
  lastUsedAt  @1 :Int64;
  leader      @2 :Int32;       # init process on the host, 0 while down
  monitor     @3 :Int32;       # liblxc's monitor process
  monitorStart @4 :UInt64;     # start time (clock ticks) of the monitor: tells it from a later process of the same pid
  bootedAt    @5 :Int64;
  reason      @6 :Text;        # why it is in `error`
  nics        @7 :List(Nic);
  bootId      @8 :Text;        # boot id of the host when this was written
  ready       @15 :Bool;        # the instance has said so itself (guest API); until its init ends
  devices     @9 :List(Json.Device) $Json.map;    # that the running instance has
  booted      @10 :List(Json.Device) $Json.map;   # that it began with, and has again after a reboot from inside
  config      @11 :List(Json.KeyValue) $Json.map; # limits.* and volatile.* that are in force
  idmapBase   @12 :UInt32;
  idmapSize   @13 :UInt32;     # 0: it runs privileged
  goneDown    @14 :Bool;       # it ran when the host was shut down
  struct Nic { device @0 :Text; hostName @1 :Text; hwaddr @2 :Text; name @3 :Text; network @4 :Text; }
}

struct SnapshotSpec {
  # An instance as it was, in its project's `snapshots`: PROJECT/INSTANCE/NAME. Only the instance's own actor writes it.
  name         @0 :Text;
  description  @1 :Text $Json.hidden;
  architecture @2 :Text;
  ephemeral    @3 :Bool;
  stateful     @4 :Bool;
  profiles     @5 :List(Text);
  config       @6 :List(Json.KeyValue) $Json.map;
  devices      @7 :List(Json.Device) $Json.map;
  createdAt    @8 :Int64 $Json.time;
  expiresAt    @9 :Int64 $Json.time;        # 0: never
  lastUsedAt  @10 :Int64 $Json.time;
  size        @11 :Int64 = -1;              # unknown
  pool        @12 :Text $Json.hidden;
  volume      @13 :Text $Json.hidden;       # a name of its own, so that renaming moves nothing on the disk
  scheduled   @14 :Bool $Json.hidden;       # taken by snapshots.schedule: the tiers of snapshots.keep.* decide how long it stays
}

# ---- requests as REST clients send them (rest-api: InstancesPost, InstancePut, InstanceStatePut, ...)

struct InstanceSource {
  type        @0 :Text;
  certificate @1 :Text;
  alias       @2 :Text;
  fingerprint @3 :Text;
  properties  @4 :List(Json.KeyValue) $Json.map;
  server      @5 :Text;
  secret      @6 :Text;
  protocol    @7 :Text;
  baseImage   @8 :Text $Json.name("base-image");
  mode        @9 :Text;
  operation   @10 :Text;
  secrets     @11 :List(Json.KeyValue) $Json.map;
  source      @12 :Text;
  live        @13 :Bool;
  instanceOnly @14 :Bool;
  containerOnly @15 :Bool;
  refresh     @16 :Bool;
  project     @17 :Text;
  allowInconsistent @18 :Bool;
}

struct CreateInstance {
  name         @0 :Text;
  architecture @1 :Text;
  config       @2 :List(Json.KeyValue) $Json.map;
  devices      @3 :List(Json.Device) $Json.map;
  ephemeral    @4 :Bool;
  profiles     @5 :List(Text);        # null: ["default"]
  restore      @6 :Text;
  stateful     @7 :Bool;
  description  @8 :Text;
  source       @9 :InstanceSource;
  instanceType @10 :Text;
  type         @11 :InstanceType;
  project      @12 :Text $Json.hidden;
}

struct UpdateInstance {
  architecture @0 :Text;
  config       @1 :List(Json.KeyValue) $Json.map;
  devices      @2 :List(Json.Device) $Json.map;
  ephemeral    @3 :Bool;
  profiles     @4 :List(Text);
  restore      @5 :Text;
  stateful     @6 :Bool;
  description  @7 :Text;
  etag         @8 :Text $Json.hidden;    # If-Match, empty: unconditional
  given        @9 :List(Text) $Json.hidden;  # PATCH: the fields that were sent; null: a PUT, replace everything
}

struct SnapshotsPost {
  name      @0 :Text;                       # empty: by the instance's snapshots.pattern
  stateful  @1 :Bool;
  expiresAt @2 :Int64 = -1 $Json.time;      # 0: never; -1 (not given): by its snapshots.expiry
  scheduled @3 :Bool $Json.hidden;
}
struct SnapshotPut { expiresAt @0 :Int64 $Json.time; }
struct SnapshotPost {
  name      @0 :Text;
  migration @1 :Bool;
  live      @2 :Bool;
  target    @3 :InstancePostTarget $Json.nullable;
}

struct RetentionTiers {
  # How many of the newest hours, days, weeks and months keep a scheduled snapshot; -1: what the instance's config says.
  hourly  @0 :Int32 = -1;
  daily   @1 :Int32 = -1;
  weekly  @2 :Int32 = -1;
  monthly @3 :Int32 = -1;
}
struct RetainedSnapshot {
  name      @0 :Text;
  createdAt @1 :Int64 $Json.time;
  keptBy    @2 :List(Text);    # tiers; empty: it goes
}

struct RebuildInstance {
  source @0 :InstanceSource;   # of type image or none
}

struct ChangeInstanceState {
  action   @0 :Text;          # start, stop, restart, freeze, unfreeze
  timeout  @1 :Int64 = -1;    # seconds
  force    @2 :Bool;
  stateful @3 :Bool;
}

struct RenameInstance {
  name              @0 :Text;
  migration         @1 :Bool;
  live              @2 :Bool;
  instanceOnly      @3 :Bool;
  containerOnly     @4 :Bool;
  pool              @5 :Text;
  project           @6 :Text;
  allowInconsistent @7 :Bool;
  target            @8 :InstancePostTarget $Json.nullable;
}
struct InstancePostTarget {
  certificate @0 :Text;
  operation   @1 :Text;
  secrets     @2 :List(Json.KeyValue) $Json.map;
}

struct ExecInstance {
  command          @0 :List(Text);
  waitForWebsocket @1 :Bool $Json.name("wait-for-websocket");
  interactive      @2 :Bool;
  environment      @3 :List(Json.KeyValue) $Json.map;
  width            @4 :Int32;
  height           @5 :Int32;
  recordOutput     @6 :Bool $Json.name("record-output");
  user             @7 :UInt32;
  group            @8 :UInt32;
  cwd              @9 :Text;
}
struct ExecControl {
  command @0 :Text;
  args    @1 :List(Json.KeyValue) $Json.map;
  signal  @2 :Int32;
}
struct InstanceConsole { width @0 :Int32; height @1 :Int32; type @2 :Text; }

# ---- what state shows

struct InstanceState {
  status     @0 :Text;
  statusCode @1 :Int32;
  disk       @2 :List(Disk) $Json.map;
  memory     @3 :Memory;
  network    @4 :List(Network) $Json.map $Json.nullable;
  pid        @5 :Int64;
  processes  @6 :Int64;
  cpu        @7 :Cpu;
  struct Disk { name @0 :Text; value @1 :Usage; struct Usage { usage @0 :Int64; } }
  struct Memory { usage @0 :Int64; usagePeak @1 :Int64; swapUsage @2 :Int64; swapUsagePeak @3 :Int64; }
  struct Cpu { usage @0 :Int64; }
  struct Network { name @0 :Text; value @1 :Interface; }
  struct Interface {
    addresses @0 :List(Address);
    counters  @1 :Counters;
    hwaddr    @2 :Text;
    hostName  @3 :Text;
    mtu       @4 :Int32;
    state     @5 :Text;
    type      @6 :Text;
  }
  struct Address { family @0 :Text; address @1 :Text; netmask @2 :Text; scope @3 :Text; }
  struct Counters {
    bytesReceived          @0 :UInt64;
    bytesSent              @1 :UInt64;
    packetsReceived        @2 :UInt64;
    packetsSent            @3 :UInt64;
    errorsReceived         @4 :UInt64;
    errorsSent             @5 :UInt64;
    packetsDroppedOutbound @6 :UInt64;
    packetsDroppedInbound  @7 :UInt64;
  }
}
