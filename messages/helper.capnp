@0xd42ec56614e1b995;
# What the daemon and troupe-lxc say to each other: one request per socketpair, file descriptors by SCM_RIGHTS.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");
using Json = import "json.capnp";
using Error = import "error.capnp".Error;
