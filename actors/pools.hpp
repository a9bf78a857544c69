#pragma once

#include "actors/operations.hpp"
#include "actors/records.hpp"
#include "actors/saga.hpp"
#include "backends/storage/storage_driver.hpp"

namespace troupe {

/// The volume that a step names: KIND/NAME, or containers by their name alone.
inline volume_id volume_named(std::string_view word) {
  auto slash = word.find('/');
  if (slash == word.npos) return {"containers", std::string{word}};
  return {std::string{word.substr(0, slash)}, std::string{word.substr(slash + 1)}};
}

/// To the pools actor; requests that name a pool are passed on to that pool's actor.
struct locate_volume { // -> root_mount_ptr
  std::string pool;
  volume_id volume;
};
using root_mount_ptr = std::shared_ptr<const root_mount>;

/// The driver, for calls that only read (usage, space) from a blocking thread. -> driver_ptr
struct borrow_driver {
  std::string pool;
};
using driver_ptr = std::shared_ptr<storage_driver>;

/// A pool's driver object; nullptr: there is no such driver. Without state of its own: several may speak of one pool.
driver_ptr make_driver(const services& with, const std::string& name, const std::string& driver,
                       const config_map& config);

struct delete_pool { // -> operation_record
  std::string pool;
  std::shared_ptr<const header> head;
};
struct update_pool { // -> operation_record
  std::string pool;
  envelope<schema::PoolPut> request;
  std::string etag;
  bool patch = false;
};

/// INTERNAL, pools -> pool at start-up and after creation: bring it up. -> unit
struct open_pool {};

/// The POOLS actor: admission of pools, and the way to each pool's actor.
/// (envelope<PoolsPost>) -> operation_record; (step_act), (step_undo): steps "pool.*" itself, "volume.*" and
/// "image.unload" by the pool's actor.
caf::behavior pools(caf::event_based_actor* self, services& with);

/// The POOL actor: one storage pool; the only one that changes its volumes. Unpacks an image once, however many ask.
caf::behavior pool(caf::event_based_actor* self, services& with, std::string name, driver_ptr driver);

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::locate_volume)
TROUPE_LOCAL_MESSAGE(troupe::root_mount_ptr)
TROUPE_LOCAL_MESSAGE(troupe::borrow_driver)
TROUPE_LOCAL_MESSAGE(troupe::driver_ptr)
TROUPE_LOCAL_MESSAGE(troupe::delete_pool)
TROUPE_LOCAL_MESSAGE(troupe::update_pool)
TROUPE_LOCAL_MESSAGE(troupe::open_pool)
