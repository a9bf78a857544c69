@0xdd593951d88861cd;
# Images and their aliases.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");
using Json = import "json.capnp";
using InstanceType = import "instance.capnp".InstanceType;

struct ImageSpec {
  fingerprint  @0 :Text;
  filename     @1 :Text;
  architecture @2 :Text;
  size         @3 :Int64;
  type         @4 :InstanceType;
  public       @5 :Bool;
  autoUpdate   @6 :Bool;
  cached       @7 :Bool;
  createdAt    @8 :Int64 $Json.time;
  expiresAt    @9 :Int64 $Json.time;
  lastUsedAt   @10 :Int64 $Json.time;
  uploadedAt   @11 :Int64 $Json.time;
  properties   @12 :List(Json.KeyValue) $Json.map;
  profiles     @13 :List(Text);
  split        @14 :Bool $Json.hidden;     # metadata and root file system are two files
}
struct ImageAlias { name @0 :Text; description @1 :Text; }
struct ImageAliasEntry { name @0 :Text; description @1 :Text; type @2 :InstanceType; target @3 :Text; }

struct ImagePut {
  autoUpdate @0 :Bool;
  properties @1 :List(Json.KeyValue) $Json.map;
  public     @2 :Bool;
  expiresAt  @3 :Int64 $Json.time;
  profiles   @4 :List(Text);
}
struct ImagesPost {
  autoUpdate  @0 :Bool;
  properties  @1 :List(Json.KeyValue) $Json.map;
  public      @2 :Bool;
  expiresAt   @3 :Int64 $Json.time;
  profiles    @4 :List(Text);
  filename    @5 :Text;
  source      @6 :Source;
  compressionAlgorithm @7 :Text;
  aliases     @8 :List(ImageAlias);
  struct Source {
    alias @0 :Text; certificate @1 :Text; protocol @2 :Text; server @3 :Text; imageType @4 :Text; mode @5 :Text;
    type @6 :Text; url @7 :Text; name @8 :Text; fingerprint @9 :Text; secret @10 :Text; project @11 :Text;
  }
}
struct ImageAliasesPost { name @0 :Text; description @1 :Text; type @2 :Text; target @3 :Text; }
struct ImageAliasPut { description @0 :Text; target @1 :Text; }
struct ImageAliasRename { name @0 :Text; }

struct ImageMetadata {
  # metadata.yaml inside an image
  architecture @0 :Text;
  creationDate @1 :Int64;
  expiryDate   @2 :Int64;
  properties   @3 :List(Json.KeyValue) $Json.map;
  templates    @4 :List(Entry) $Json.map;
  struct Entry { path @0 :Text; template @1 :Template; }
  struct Template {
    when       @0 :List(Text);
    createOnly @1 :Bool;
    template   @2 :Text;
    properties @3 :List(Json.KeyValue) $Json.map;
  }
}
