@0xc38311adcbf4eae2;
# The message bus: Cap'n Proto RPC on DIR/bus.socket. The bootstrap capability is `Bus`; docs/bus.md is its guide.
#
# - A handle names a thing, it does not lock it: `instances.get("c1")` succeeds for a name that nobody has, calls on it
#   answer not_found.
# - Long work answers with an `Operation` at once. The other capability of such an answer stands for the thing once
#   the operation has succeeded: calls on it wait for that, and fail with the operation's error.
# - Errors are exceptions whose text is "CODE: sentence", CODE as in messages/error.hpp.
# - Where a method's parameters are a struct of another file, that struct is the very message the actor receives.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::bus");
using Json = import "json.capnp";
using Node = import "/capnp/schema.capnp".Node;
using Bak = import "backup.capnp";
using Event = import "event.capnp".Event;
using Id = import "identity.capnp";
using Img = import "image.capnp";
using Inst = import "instance.capnp";
using Net = import "network.capnp";
using Op = import "operation.capnp";
using Prof = import "profile.capnp";
using Srv = import "server.capnp";
using Stor = import "storage.capnp";

annotation reads @0xd3a7c01be5f64921 (method) :Void;    # changes nothing: a read-only handle may call it
annotation implied @0xe94b80d12c7fa635 (method) :Void;  # of a handle that an allowed call gave out: no rule judges it again

# ---- every handle

interface Handle(Same) {
  restrict @0 Rules -> (handle :Same, revoker :Revoker) $implied;
  # The same thing, weaker. What is reached through the new handle is under the same rules, and rules only add up.
  offers @1 () -> (methods :List(Text)) $implied;
  # "Instance.start", ...: what the caller may call of this very thing now, by his rights and the handle's rules.
}
struct Rules {
  readOnly  @0 :Bool;
  verbs     @1 :List(Text);   # "Instance.start", "Instances.*"; empty: all
  expiresAt @2 :Int64;        # ns since the epoch, 0: never
}
interface Revoker {
  revoke @0 () $implied;
  # Kills the handle and everything that came from it, running commands and streams included. Safe to repeat.
  # Dropping a revoker revokes nothing.
}

interface ByteStream {
  # Flow-controlled: the writer waits when the reader does not keep up.
  write @0 (bytes :Data) -> stream $implied;
  end   @1 () $implied;       # no more bytes; answered when the receiver has dealt with all of them
}

struct Page {
  after @0 :Text;             # the last key already seen, empty: from the start
  limit @1 :UInt32;           # at most so many, 0: 1,000 (which is also the most)
  filter @2 :Text;            # as in REST: "status eq Running and config.user.x ne 1"; empty: all
}
struct Guard {
  etag  @0 :Text;             # only if the thing still has this etag; empty: in any case
  patch @1 :Bool;             # true: only what is given, false: replace everything
}

# ---- the tree

interface Bus extends(Handle(Bus)) {
  server       @0 () -> (server :Srv.Server, etag :Text) $reads;
  updateServer @1 (config :List(Json.KeyValue), guard :Guard) -> (operation :Operation);
  resources    @2 () -> (json :Text) $reads;
  projects     @3 Page -> (items :List(ProjectView), next :Text) $reads;
  project      @4 (name :Text = "default") -> (project :Project) $reads;
  describe     @5 () -> (interfaces :List(InterfaceView), nodes :List(Node)) $reads;
  sessions     @6 () -> (items :List(SessionView)) $reads;
  createProject @8 Prof.ProjectsPost -> (project :Project, operation :Operation);
  allInstances @7 Page -> (items :List(InstanceView), next :Text) $reads;   # of all projects; `after` is "PROJECT/NAME"
  auth         @9 () -> (auth :Auth) $reads;
}
struct SessionView {
  # One connection to the bus.
  user       @0 :Text;
  handles    @1 :UInt32;
  atWork     @2 :UInt32;      # calls that were read and are not answered; none that wait for an end or for the client
  mostAtWork @3 :UInt32;      # since it began
}
struct InterfaceView {
  name    @0 :Text;
  id      @1 :UInt64;
  methods @2 :List(Method);
  struct Method { name @0 :Text; ordinal @1 :UInt16; reads @2 :Bool; params @3 :Text; results @4 :Text; served @5 :Bool; } 
}

struct ProjectView { spec @0 :Prof.ProjectSpec; etag @1 :Text; usedBy @2 :List(Text); }
struct LimitState { name @0 :Text; limit @1 :Int64 = -1; usage @2 :UInt64; }   # limit: -1 is none
interface Project extends(Handle(Project)) {
  view       @0 () -> ProjectView $reads;
  instances  @1 () -> (instances :Instances) $reads;
  images     @2 () -> (images :Images) $reads;
  profiles   @3 () -> (profiles :Profiles) $reads;
  networks   @4 () -> (networks :Networks) $reads;
  pools      @5 () -> (pools :Pools) $reads;
  operations @6 () -> (operations :Operations) $reads;
  events     @7 () -> (events :EventStream) $reads;
  update     @8 (body :Prof.ProjectPut, guard :Guard) -> (operation :Operation);
  rename     @9 Net.Rename -> (project :Project, operation :Operation);
  delete     @10 () -> (operation :Operation);
  state      @11 () -> (limits :List(LimitState)) $reads;
}

# ---- who may do what

interface Auth extends(Handle(Auth)) {
  identities     @0 () -> (identities :Identities) $reads;
  groups         @1 () -> (groups :Groups) $reads;
  providerGroups @2 () -> (providerGroups :ProviderGroups) $reads;
  permissions    @3 (entityType :Text, project :Text, page :Page) -> (items :List(PermissionView), next :Text) $reads;
  # What can be given, on all that is there; empty: of all types and projects. `after` is the number of those before.
}
struct PermissionView { spec @0 :Id.Permission; groups @1 :List(Text); }   # groups: that give it

struct IdentityView { spec @0 :Id.Identity; etag @1 :Text; }
interface Identities extends(Handle(Identities)) {
  list    @0 Page -> (items :List(IdentityView), next :Text) $reads;   # `after` is "METHOD/ID"
  get     @1 (method :Text, id :Text) -> (identity :Identity) $reads;  # tls or oidc; or its name
  current @2 () -> (identity :Id.Identity, effectiveGroups :List(Text), effectivePermissions :List(Id.Permission),
                    fineGrained :Bool) $reads;
  create  @3 (name :Text, certificate :Text, groups :List(Text)) -> (identity :Identity, operation :Operation);
  invite  @4 (name :Text, groups :List(Text)) -> (token :Text, identity :Identity, operation :Operation);
  # Pending until somebody brings the token; answered once it can be used.
}
interface Identity extends(Handle(Identity)) {
  view   @0 () -> IdentityView $reads;
  update @1 (body :Id.IdentityPut, etag :Text, given :List(Text)) -> (operation :Operation);   # given null: everything
  delete @2 () -> (operation :Operation);
}

struct GroupView {
  spec           @0 :Id.AuthGroup;
  identities     @1 :List(Text);   # "METHOD/ID" of its members
  providerGroups @2 :List(Text);   # of which it is one
  etag           @3 :Text;
}
interface Groups extends(Handle(Groups)) {
  list   @0 Page -> (items :List(GroupView), next :Text) $reads;
  get    @1 (name :Text) -> (group :Group) $reads;
  create @2 Id.AuthGroup -> (group :Group, operation :Operation);
}
interface Group extends(Handle(Group)) {
  view   @0 () -> GroupView $reads;
  update @1 (body :Id.AuthGroupPut, etag :Text, given :List(Text)) -> (operation :Operation);   # given null: everything
  rename @2 Net.Rename -> (group :Group, operation :Operation);
  delete @3 () -> (operation :Operation);
}

struct ProviderGroupView { spec @0 :Id.IdentityProviderGroup; etag @1 :Text; }
interface ProviderGroups extends(Handle(ProviderGroups)) {
  list   @0 Page -> (items :List(ProviderGroupView), next :Text) $reads;
  get    @1 (name :Text) -> (providerGroup :ProviderGroup) $reads;
  create @2 Id.IdentityProviderGroup -> (providerGroup :ProviderGroup, operation :Operation);
}
interface ProviderGroup extends(Handle(ProviderGroup)) {
  view   @0 () -> ProviderGroupView $reads;
  update @1 (body :Id.IdentityProviderGroupPut, etag :Text, given :List(Text)) -> (operation :Operation);
  rename @2 Net.Rename -> (providerGroup :ProviderGroup, operation :Operation);
  delete @3 () -> (operation :Operation);
}

# ---- operations

interface Operations extends(Handle(Operations)) {
  list @0 (page :Page, running :Bool) -> (items :List(Op.Operation), next :Text) $reads;   # running: only those
  get  @1 (id :Text) -> (operation :Operation) $reads;
}
interface Operation extends(Handle(Operation)) {
  view   @0 () -> Op.Operation $reads;
  wait   @1 (timeoutMs :Int64 = -1) -> Op.Operation $reads;
  # Answers when it has ended, however it did; timed_out when the time is over (-1: never).
  cancel @2 ();
  follow @3 (to :EventSink, credits :UInt32 = 64) -> (subscription :Subscription) $reads;
}

# ---- events

interface EventStream extends(Handle(EventStream)) {
  subscribe     @0 (filter :Filter, start :Start, to :EventSink, credits :UInt32, durable :Text)
                -> (subscription :Subscription) $reads;
  history       @1 (kind :Text, name :Text, before :UInt64, limit :UInt32) -> (events :List(Event)) $reads;
  # Of one thing ("instance", "c1"), oldest first: the last `limit` (0: 100) before that number (0: the end).
  durables      @2 () -> (items :List(Durable)) $reads;
  deleteDurable @3 (name :Text);
  struct Durable {
    name           @0 :Text;
    filter         @1 :Filter;
    acknowledged   @2 :Cursor;
    createdAt      @3 :Int64 $Json.time;
    acknowledgedAt @4 :Int64 $Json.time;
    owner          @5 :Text;
    connected      @6 :Bool;
    lag            @7 :UInt64;
  }
  struct Filter {
    # An empty member: all. Subjects are "project.kind.name.verb"; * is one part, > the rest.
    subjects   @0 :List(Text);
    types      @1 :List(Text);
    leastLevel @2 :Event.Level;
    operation  @3 :Text;
    principal  @4 :Text;
  }
  struct Start {
    union {
      now       @0 :Void;
      beginning @1 :Void;
      cursor    @2 :Cursor;
    }
    snapshot @3 :Bool;        # first the things as they are, then a marker, then what happens
  }
}
struct Cursor { epoch @0 :UInt32; member @1 :Text; seq @2 :UInt64; }
struct Delivery {
  at @0 :Cursor;
  union {
    snapshot @1 :Event;       # a thing as it is, in `metadata`
    marker   @2 :Void;        # the snapshot is complete
    event    @3 :Event;
    bookmark @4 :Void;        # nothing happened up to here
    gap      @5 :Gap;         # these are gone: retention was faster than the reader
  }
  struct Gap { from @0 :UInt64; to @1 :UInt64; }
}
interface EventSink {
  deliver @0 (deliveries :List(Delivery)) $implied;
  ended   @1 (reason :Text) $implied;
}
interface Subscription {
  # Dropping it ends the subscription; a durable one keeps its acknowledged cursor on the server.
  grant       @0 (credits :UInt32) $implied;
  acknowledge @1 (seq :UInt64) $implied;
  close       @2 () $implied;
}

# ---- instances

struct InstanceView {
  spec            @0 :Inst.InstanceSpec;
  status          @1 :Text;
  statusCode      @2 :Int32;
  lastUsedAt      @3 :Int64 $Json.time;
  expandedConfig  @4 :List(Json.KeyValue) $Json.map;
  expandedDevices @5 :List(Json.Device) $Json.map;
  etag            @6 :Text;
}
struct Power { timeout @0 :Int64 = -1; force @1 :Bool; stateful @2 :Bool; }   # seconds
struct InstanceChange { instance @0 :Instance; operation @1 :Operation; }

interface Instances extends(Handle(Instances)) {
  list      @0 Page -> (items :List(InstanceView), next :Text) $reads;
  get       @1 (name :Text) -> (instance :Instance) $reads;
  create    @2 Inst.CreateInstance -> InstanceChange;
  changeAll @3 Inst.ChangeInstanceState -> (operations :List(Operation));   # all that are in a state for it
  import    @4 InstanceImport -> (backup :ByteStream, upload :InstanceUpload);
}
struct InstanceImport {
  name @0 :Text;              # instead of those that the backup tells; empty: as it says
  pool @1 :Text;
}
interface InstanceUpload {
  finish @0 () -> InstanceChange $implied;   # once what was sent has been ended
}
interface Instance extends(Handle(Instance)) {
  view         @0 () -> InstanceView $reads;
  state        @1 () -> Inst.InstanceState $reads;
  update       @2 Inst.UpdateInstance -> InstanceChange;   # `given` null: replace everything
  rename       @3 Inst.RenameInstance -> InstanceChange;
  delete       @4 () -> (operation :Operation);
  changeState  @5 Inst.ChangeInstanceState -> InstanceChange;
  start        @6 Power -> InstanceChange;
  stop         @7 Power -> InstanceChange;
  restart      @8 Power -> InstanceChange;
  freeze       @9 Power -> InstanceChange;
  unfreeze    @10 Power -> InstanceChange;
  exec        @11 (command :Inst.ExecInstance, stdout :ByteStream, stderr :ByteStream)
              -> (process :Process, stdin :ByteStream, operation :Operation);
  # Output that has no stream is thrown away; an interactive command has a terminal, whose output all goes to `stdout`.
  consoleLog      @12 () -> (log :Data) $reads;
  clearConsoleLog @13 ();
  logs        @14 () -> (names :List(Text)) $reads;
  readLog     @15 (name :Text, to :ByteStream) -> (size :UInt64) $reads;
  files       @16 () -> (files :Files) $reads;
  snapshots      @17 () -> (items :List(SnapshotView)) $reads;   # oldest first
  snapshot       @18 Inst.SnapshotsPost -> InstanceChange;
  restore        @19 (snapshot :Text) -> InstanceChange;
  renameSnapshot @20 (snapshot :Text, name :Text) -> (operation :Operation);
  updateSnapshot @21 (snapshot :Text, expiresAt :Int64, etag :Text) -> (operation :Operation);   # 0: never
  deleteSnapshot @22 (snapshot :Text) -> (operation :Operation);
  rebuild        @23 Inst.RebuildInstance -> InstanceChange;
  retention      @24 Inst.RetentionTiers -> (snapshots :List(Inst.RetainedSnapshot)) $reads;   # scheduled ones, newest first
  prune          @25 () -> (operation :Operation);
  backups        @26 () -> (items :List(BackupView)) $reads;   # oldest first
  backup         @27 Bak.BackupsPost -> (operation :Operation);
  renameBackup   @28 (backup :Text, name :Text) -> (operation :Operation);
  deleteBackup   @29 (backup :Text) -> (operation :Operation);
  exportBackup   @30 (backup :Text, to :ByteStream) -> (size :UInt64) $reads;   # answered when all is sent
}
struct BackupView { spec @0 :Bak.BackupSpec; size @1 :UInt64; etag @2 :Text; }   # size: bytes
struct SnapshotView { spec @0 :Inst.SnapshotSpec; etag @1 :Text; }
interface Process {
  # A running command. Dropping every handle of it kills it.
  wait   @0 () -> (exitCode :Int32) $implied;   # 128 + n for a signal; answered when all output has been taken
  signal @1 (number :Int32) $implied;
  resize @2 (width :UInt16, height :UInt16) $implied;
}
interface Files extends(Handle(Files)) {
  view          @0 (path :Text) -> FileView $reads;
  read          @1 (path :Text, to :ByteStream) -> FileView $reads;   # answered when all is sent
  write         @2 (path :Text, append :Bool, owner :Owner) -> (to :ByteStream);
  makeDirectory @3 (path :Text, owner :Owner);
  makeLink      @4 (path :Text, target :Text, owner :Owner);
  remove        @5 (path :Text);
  struct Owner { uid @0 :Int64 = -1; gid @1 :Int64 = -1; mode @2 :Int64 = -1; }   # for what is created; -1: the default
}
struct FileView {
  enum Type { file @0; directory @1; symlink @2; }
  type     @0 :Type;
  uid      @1 :UInt32;
  gid      @2 :UInt32;
  mode     @3 :UInt32;
  size     @4 :UInt64;
  modified @5 :Int64;         # seconds since the epoch
  target   @6 :Text;
  entries  @7 :List(Text);
}

# ---- images

struct ImageView { spec @0 :Img.ImageSpec; aliases @1 :List(Img.ImageAlias); etag @2 :Text; }
struct ImageImport {
  filename    @0 :Text;
  public      @1 :Bool;
  properties  @2 :List(Json.KeyValue) $Json.map;
  fingerprint @3 :Text;       # what it must have, empty: any
  aliases     @4 :List(Text);
}
interface Images extends(Handle(Images)) {
  list        @0 Page -> (items :List(ImageView), next :Text) $reads;
  get         @1 (fingerprint :Text) -> (image :Image) $reads;   # or its unique beginning
  import      @2 ImageImport -> (metadata :ByteStream, rootfs :ByteStream, upload :Upload);
  # A unified image goes to `metadata`; a split one is both.
  aliases     @3 Page -> (items :List(Img.ImageAliasEntry), next :Text) $reads;
  alias       @4 (name :Text) -> (alias :Alias) $reads;
  createAlias @5 Img.ImageAliasesPost -> (alias :Alias, operation :Operation);
  publish     @6 Img.ImagesPost -> (image :Image, operation :Operation);   # an instance or a snapshot, see `source`
}
interface Upload {
  finish @0 () -> (image :Image, operation :Operation) $implied;   # once what was sent has been ended
}
interface Image extends(Handle(Image)) {
  view   @0 () -> ImageView $reads;
  update @1 (body :Img.ImagePut, etag :Text, given :List(Text)) -> (operation :Operation);   # given null: everything
  delete @2 () -> (operation :Operation);
  export @3 (metadata :ByteStream, rootfs :ByteStream) -> (split :Bool) $reads;
}
interface Alias extends(Handle(Alias)) {
  view   @0 () -> (alias :Img.ImageAliasEntry, etag :Text) $reads;
  update @1 (body :Img.ImageAliasPut, etag :Text, given :List(Text)) -> (operation :Operation);
  rename @2 Img.ImageAliasRename -> (alias :Alias, operation :Operation);
  delete @3 () -> (operation :Operation);
}

# ---- profiles

struct ProfileView { spec @0 :Prof.ProfileSpec; usedBy @1 :List(Text); etag @2 :Text; }
interface Profiles extends(Handle(Profiles)) {
  list   @0 Page -> (items :List(ProfileView), next :Text) $reads;
  get    @1 (name :Text) -> (profile :Profile) $reads;
  create @2 Prof.ProfilesPost -> (profile :Profile, operation :Operation);
}
interface Profile extends(Handle(Profile)) {
  view   @0 () -> ProfileView $reads;
  update @1 (body :Prof.ProfilePut, guard :Guard) -> (operation :Operation);
  rename @2 Net.Rename -> (profile :Profile, operation :Operation);
  delete @3 () -> (operation :Operation);
}

# ---- networks

struct NetworkView { spec @0 :Net.NetworkSpec; managed @1 :Bool; usedBy @2 :List(Text); etag @3 :Text; }
interface Networks extends(Handle(Networks)) {
  list   @0 Page -> (items :List(NetworkView), next :Text) $reads;   # the managed ones
  get    @1 (name :Text) -> (network :Network) $reads;
  create @2 Net.NetworksPost -> (network :Network, operation :Operation);
}
interface Network extends(Handle(Network)) {
  view   @0 () -> NetworkView $reads;
  update @1 (body :Net.NetworkPut, guard :Guard) -> (operation :Operation);
  rename @2 Net.Rename -> (network :Network, operation :Operation);
  delete @3 () -> (operation :Operation);
  leases @4 () -> (leases :List(Net.NetworkLease)) $reads;
  state  @5 () -> Net.NetworkState $reads;      # also of a host's interface that is not managed
}

# ---- storage

struct PoolView { spec @0 :Stor.PoolSpec; usedBy @1 :List(Text); etag @2 :Text; }
struct VolumeView { spec @0 :Stor.VolumeSpec; usedBy @1 :List(Text); etag @2 :Text; }
interface Pools extends(Handle(Pools)) {
  list   @0 Page -> (items :List(PoolView), next :Text) $reads;
  get    @1 (name :Text) -> (pool :Pool) $reads;
  create @2 Stor.PoolsPost -> (pool :Pool, operation :Operation);
}
interface Pool extends(Handle(Pool)) {
  view      @0 () -> PoolView $reads;
  update    @1 (body :Stor.PoolPut, guard :Guard) -> (operation :Operation);
  delete    @2 () -> (operation :Operation);
  resources @3 () -> Stor.PoolResources $reads;
  volumes   @4 (type :Text) -> (items :List(VolumeView)) $reads;   # empty: of all types
  volume    @5 (type :Text, name :Text) -> (volume :Volume) $reads;
  createVolume @6 Stor.VolumesPost -> (volume :Volume, operation :Operation);   # a custom one
}
interface Volume extends(Handle(Volume)) {
  view  @0 () -> VolumeView $reads;
  state @1 () -> Stor.VolumeState $reads;
  update @2 (body :Stor.VolumePut, guard :Guard) -> (operation :Operation);
  move   @3 Stor.VolumePost -> (volume :Volume, operation :Operation);   # another name or pool
  delete @4 () -> (operation :Operation);
}
