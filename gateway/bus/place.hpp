#pragma once

#include "gateway/activity.hpp"
#include "gateway/bus/fair_share.hpp"
#include "gateway/door.hpp"
#include "messages/config_map.hpp"

#include <capnp/dynamic.h>
#include <functional>
#include <kj/async-io.h>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace troupe {
class tls_listeners;
}

namespace troupe::on_bus {

/// One connection. Lives as long as any handle it gave out; on the bus thread, as everything in this folder that does
/// not say otherwise.
struct session {
  services& with;
  tls_listeners& listeners;
  const std::set<const session*>& all; // that are open
  kj::AsyncIoContext& io;
  kj::TaskSet& background; // work that outlives the call which began it
  fair_share& share;
  principal who;
  std::function<bool()> trusted = {}; // whether its peer still is who it was; empty: nothing can change that
  std::shared_ptr<activity> doings = std::make_shared<activity>(); // calls, streams and subscriptions; never idle else
  size_t handles = 0;                                              // alive
  size_t at_work = 0; // calls that were read and are not answered, without those that may wait (methods.hpp)
  size_t most_at_work = 0;
  std::function<void()> on_answered = {}; // one of them was
  const bool* ending = nullptr;           // whether the daemon ends: what can go on without it goes on
};
using session_ptr = std::shared_ptr<session>;

/// The thing that a handle names: whose handle, in which project, under which names (a volume has three).
struct place {
  session_ptr of;
  std::shared_ptr<const header> head;
  std::vector<std::string> names;
  std::string through = {}; // the project it was reached from, if that borrows the thing from `head`'s

  /// Whose rights count.
  const std::string& project() const { return through.empty() ? head->project : through; }
  const std::string& name(size_t i = 0) const { return names[i]; }
  services& with() const { return of->with; }
  std::string key() const; // project/name
  place below(std::string name) const;
  place beside(std::string name) const; // the same but for the last name
};

/// One call on its way; lives until it is answered.
struct call {
  place at;
  capnp::InterfaceSchema type; // of the handle
  capnp::InterfaceSchema::Method method;
  capnp::CallContext<capnp::DynamicStruct, capnp::DynamicStruct> context;

  template <class Params>
  typename Params::Reader params() {
    return context.getParams().as<Params>();
  }
  template <class Results>
  typename Results::Builder results() {
    return context.getResults().as<Results>();
  }
  services& with() const { return at.with(); }
};
using call_ptr = std::shared_ptr<call>;

/// What a row of the method table runs. A throw is the call's error.
using handler = kj::Promise<void> (*)(const call_ptr& c);

/// A handle for the thing at `where`. Throws too_large when the session has too many.
capnp::DynamicCapability::Client make_handle(capnp::InterfaceSchema type, const place& where);

template <class Interface>
typename Interface::Client handle_of(const place& where) {
  return make_handle(capnp::Schema::from<Interface>(), where)
      .template castAs<capnp::DynamicCapability>(capnp::Schema::from<Interface>())
      .template as<Interface>();
}

} // namespace troupe::on_bus
