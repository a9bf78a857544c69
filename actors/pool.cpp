#include "actors/ask.hpp"
#include "actors/pools.hpp"
#include "actors/store_actor.hpp"
#include "backends/storage/size.hpp"
#include "backends/storage/volume_tree.hpp"

#include <algorithm>
#include <caf/event_based_actor.hpp>
#include <set>

namespace troupe {
namespace {

// One unpacking of an image, and the operations that wait for it.
struct image_load {
  struct waiter {
    std::string operation;
    std::function<void(outcome<void>)> then;
  };
  std::vector<waiter> waiters;
  std::shared_ptr<cancel_token> stop = std::make_shared<cancel_token>();
};

struct pool_data {
  services& with;
  caf::event_based_actor* self;
  std::string name;
  driver_ptr driver;
  std::map<std::string, image_load> loading; // by image
  std::set<std::string> trash_grows;         // operations whose act destroys a volume
  bool emptying = false, empty_again = false;
  caf::behavior serve; // once it is up
};
using pool_ptr = std::shared_ptr<pool_data>;

volume_id volume_in(const saga_step& step, std::string_view key = "volume") {
  return volume_named(get(step.args, key));
}

uint64_t bytes_in(const saga_step& step, std::string_view key) { return parse_size(get(step.args, key)).value_or(0); }

// A volume that a step makes, with the limit that the step names.
outcome<void> made_and_limited(storage_driver& driver, const saga_step& step, const outcome<void>& made) {
  if (!made || get(step.args, "size").empty()) return made;
  auto limited = driver.limit_volume(volume_in(step), bytes_in(step, "size"));
  bool larger = !limited && limited.error().code == fault::invalid && get(step.args, "at_least") == "true";
  return larger ? outcome<void>{} : limited;
}

// One volume takes the other's place. Where the other is gone, that was done before.
outcome<void> replace(storage_driver& driver, const volume_id& volume, const volume_id& by) {
  if (auto there = driver.root(by); !there)
    return there.error().code == fault::not_found ? outcome<void>{} : tl::unexpected{there.error()};
  if (auto done = driver.destroy_volume(volume); !done) return done;
  return driver.rename_volume(by, volume);
}

void empty_trash(const pool_ptr& me) {
  if (std::exchange(me->emptying, true)) {
    me->empty_again = true;
    return;
  }
  on_blocking_thread(
      me->self, me->with, [driver = me->driver] { return driver->empty_trash(); },
      [me](outcome<void> done) {
        me->emptying = false;
        if (!done) log().warn("Pool {}: its trash could not be emptied: {}", me->name, done.error().message);
        if (std::exchange(me->empty_again, false)) empty_trash(me);
      });
}

message<schema::VolumeSpec> image_volume(const std::string& pool, const std::string& fingerprint) {
  return message<schema::VolumeSpec>::make([&](schema::VolumeSpec::Builder v) {
    v.setName(fingerprint);
    v.setType("image");
    v.setContentType("filesystem");
    v.setProject("default");
    v.setLocation("none");
    v.setPool(pool);
    v.setCreatedAt(now_ns());
  });
}

void load_image(const pool_ptr& me, const std::string& fingerprint);

void answer_waiters(const pool_ptr& me, const std::string& fingerprint, const outcome<void>& result) {
  auto load = me->loading.extract(fingerprint);
  for (auto& waiter : load.mapped().waiters) waiter.then(result);
}

void loaded(const pool_ptr& me, const std::string& fingerprint, const outcome<void>& result) {
  auto& load = me->loading[fingerprint];
  if (!result && load.stop->cancelled() && !load.waiters.empty()) { // somebody came after all had gone
    load.stop = std::make_shared<cancel_token>();
    return load_image(me, fingerprint);
  }
  auto key = me->name + "/image/" + fingerprint;
  if (!result || me->with.db.read().get(table::volumes, key)) return answer_waiters(me, fingerprint, result);
  batch change;
  change.writes.push_back(put(table::volumes, key, image_volume(me->name, fingerprint)));
  commit(me->self, me->with, std::move(change),
         [me, fingerprint](const outcome<void>& done) { answer_waiters(me, fingerprint, done); });
}

// Every operation that waits sees how far it is.
progress_sink report_to(const pool_ptr& me, const std::string& fingerprint) {
  auto tell = [me, fingerprint](uint64_t done, uint64_t total, uint64_t percent) {
    auto load = me->loading.find(fingerprint);
    if (load == me->loading.end()) return;
    for (auto& waiter : load->second.waiters)
      me->self->send(me->with.find(role::operations),
                     operation_progress{waiter.operation, "create_instance_from_image_unpack_progress",
                                        "Unpack: " + std::to_string(percent) + "%", "bytes", done, total});
  };
  return [tell, pool = caf::actor_cast<caf::actor>(me->self), last = uint64_t{101}](uint64_t done,
                                                                                    uint64_t total) mutable {
    auto percent = total ? done * 100 / total : 0;
    if (percent == std::exchange(last, percent)) return;
    caf::anon_send(pool, resume{[tell, done, total, percent] { tell(done, total, percent); }});
  };
}

void load_image(const pool_ptr& me, const std::string& fingerprint) {
  auto records = me->with.db.read();
  auto projects = projects_with_image(records, fingerprint);
  auto image = projects.empty()
                   ? std::nullopt
                   : load<schema::ImageSpec>(records, table::images, in_project(projects.front(), fingerprint));
  if (!image) return answer_waiters(me, fingerprint, fail(fault::not_found, "Image not found"));
  bool split = image->read([](auto i) { return i.getSplit(); });
  on_blocking_thread(
      me->self, me->with,
      [driver = me->driver, &files = me->with.image_files, fingerprint, split, stop = me->loading[fingerprint].stop,
       sink = report_to(me, fingerprint)]() -> outcome<void> {
        volume_id id{"images", fingerprint};
        if (driver->is_sealed(id)) return {};
        if (auto done = driver->destroy_volume(id); !done) return done; // the half of an interrupted one
        if (auto done = driver->create_volume(id); !done) return done;
        if (auto done = files.unpack(fingerprint, split, driver->path(id), sink, stop.get()); !done) {
          static_cast<void>(driver->destroy_volume(id));
          return done;
        }
        return driver->seal_volume(id);
      },
      [me, fingerprint](outcome<void> result) { loaded(me, fingerprint, result); });
}

void answer_step(sure_promise promise, const outcome<void>& done) {
  if (done)
    promise.deliver(step_result_ptr{std::make_shared<step_result>()});
  else
    promise.deliver(to_caf(done.error()));
}

// Many launches may ask at once; one of them unpacks, the others wait for it.
void with_image(const pool_ptr& me, const std::string& fingerprint, const std::string& operation,
                std::function<void(outcome<void>)> then) {
  bool first = !me->loading.count(fingerprint);
  me->loading[fingerprint].waiters.push_back({operation, std::move(then)});
  if (first) load_image(me, fingerprint);
}

// Who waits for an image is let go at once; with the last of them the unpacking ends.
void interrupt(const pool_ptr& me, const std::string& operation) {
  for (auto& [fingerprint, load] : me->loading) {
    auto mine = [&](const image_load::waiter& waiter) { return waiter.operation == operation; };
    auto at = std::find_if(load.waiters.begin(), load.waiters.end(), mine);
    if (at == load.waiters.end()) continue;
    auto then = std::move(at->then);
    load.waiters.erase(at);
    if (load.waiters.empty()) load.stop->cancel();
    return then(fail(fault::cancelled, "The operation was cancelled"));
  }
}

void finish(const pool_ptr& me, sure_promise promise, const std::string& operation, outcome<void> done) {
  answer_step(promise, done);
  if (me->trash_grows.erase(operation) || !done) empty_trash(me);
}

template <class Work>
void run(const pool_ptr& me, sure_promise promise, const std::string& operation, Work work) {
  on_blocking_thread(
      me->self, me->with, [driver = me->driver, work] { return work(*driver); },
      [me, promise, operation](outcome<void> done) { finish(me, promise, operation, std::move(done)); });
}

// Image volumes that no record knows: an overlay stood on them when their image was deleted, or an unpacking was cut
// off.
void sweep_images(const pool_ptr& me) {
  on_blocking_thread(
      me->self, me->with,
      [driver = me->driver, &db = me->with.db, pool = me->name]() -> outcome<void> {
        auto there = driver->list();
        if (!there) return tl::unexpected{there.error()};
        for (auto& volume : *there)
          if (volume.kind == "images" && !db.read().get(table::volumes, pool + "/image/" + volume.name))
            static_cast<void>(driver->destroy_volume(volume)); // in use: stays until the next start
        return {};
      },
      [me](outcome<void> done) {
        if (!done)
          log().warn("Pool {}: left-over image volumes could not be found: {}", me->name, done.error().message);
        me->self->set_default_handler(caf::print_and_drop);
        me->self->become(me->serve);
        empty_trash(me);
      });
}

// An image volume without an image record goes when no overlay stands on it any more.
void unload_image(const pool_ptr& me, const std::string& fingerprint, sure_promise promise) {
  on_blocking_thread(
      me->self, me->with,
      [driver = me->driver, fingerprint]() -> outcome<void> {
        auto done = driver->destroy_volume({"images", fingerprint});
        if (!done && done.error().code == fault::in_use) return {};
        return done;
      },
      [me, promise](outcome<void> done) mutable {
        answer_step(promise, done);
        empty_trash(me);
      });
}

// Kinds of steps that are one call of the driver.
struct volume_act {
  std::string_view kind;
  outcome<void> (*act)(storage_driver& driver, const saga_step& step);
  bool fills_trash = false;
};
constexpr volume_act volume_acts[] = {
    {"volume.copy",
     [](auto& driver, auto& step) {
       return made_and_limited(driver, step, driver.clone_volume(volume_in(step, "from"), volume_in(step)));
     }},
    {"volume.create",
     [](auto& driver, auto& step) { return made_and_limited(driver, step, driver.create_volume(volume_in(step))); }},
    {"volume.destroy", [](auto& driver, auto& step) { return driver.destroy_volume(volume_in(step)); }, true},
    {"volume.limit",
     [](auto& driver, auto& step) { return driver.limit_volume(volume_in(step), bytes_in(step, "size")); }},
    {"volume.rename",
     [](auto& driver, auto& step) { return driver.rename_volume(volume_in(step, "from"), volume_in(step, "to")); }},
    {"volume.replace", [](auto& driver, auto& step) { return replace(driver, volume_in(step), volume_in(step, "by")); },
     true},
};

void clone_image(const pool_ptr& me, const saga_step& step, const std::string& operation, sure_promise promise) {
  volume_id image{"images", std::string{get(step.args, "image")}};
  with_image(me, image.name, operation, [me, promise, operation, image, step](outcome<void> there) {
    if (!there) return finish(me, promise, operation, there);
    run(me, promise, operation, [image, step](storage_driver& driver) {
      return made_and_limited(driver, step, driver.clone_volume(image, volume_in(step)));
    });
  });
}

// The other pool lends its driver: what is copied is only read.
void copy_from_pool(const pool_ptr& me, const saga_step& step, const std::string& operation, sure_promise promise) {
  auto lent = [me, step, operation, promise](const outcome<driver_ptr>& other) {
    if (!other) return finish(me, promise, operation, tl::unexpected{other.error()});
    run(me, promise, operation, [step, from = *other](storage_driver& driver) {
      return made_and_limited(driver, step, copy_between(*from, volume_in(step, "from"), driver, volume_in(step)));
    });
  };
  ask<driver_ptr>(me->self, me->with.find(role::pools), borrow_driver{std::string{get(step.args, "from_pool")}}, lent);
}

void perform(const pool_ptr& me, const saga_step& step, const std::string& operation, sure_promise promise) {
  if (step.kind == "volume.clone") return clone_image(me, step, operation, promise);
  auto from = get(step.args, "from_pool");
  if (step.kind == "volume.copy" && !from.empty() && from != me->name)
    return copy_from_pool(me, step, operation, promise);
  if (step.kind == "image.unload") return unload_image(me, std::string{get(step.args, "image")}, promise);
  auto row = std::find_if(std::begin(volume_acts), std::end(volume_acts), [&](auto& r) { return r.kind == step.kind; });
  if (row == std::end(volume_acts))
    return finish(me, promise, operation, fail(fault::internal, "No pool performs " + step.kind));
  if (row->fills_trash) me->trash_grows.insert(operation);
  run(me, promise, operation, [row, step](storage_driver& driver) { return row->act(driver, step); });
}

void take_back(const pool_ptr& me, const saga_step& step, sure_promise promise) {
  on_blocking_thread(
      me->self, me->with,
      [driver = me->driver, step]() -> outcome<void> {
        static constexpr std::string_view makers[] = {"volume.clone", "volume.copy", "volume.create"};
        if (std::find(std::begin(makers), std::end(makers), step.kind) != std::end(makers))
          return driver->destroy_volume(volume_in(step));
        if (step.kind == "volume.limit" && step.args.contains("was"))
          return driver->limit_volume(volume_in(step), bytes_in(step, "was"));
        if (step.kind == "volume.rename") return driver->rename_volume(volume_in(step, "to"), volume_in(step, "from"));
        return {};
      },
      [me, promise](outcome<void> done) mutable {
        answer(promise, done);
        empty_trash(me);
      });
}

} // namespace

caf::behavior pool(caf::event_based_actor* self, services& with, std::string name, driver_ptr driver) {
  auto me = std::make_shared<pool_data>(pool_data{with, self, std::move(name), std::move(driver)});
  me->serve = caf::behavior{
      [me](const locate_volume& where) -> caf::response_promise {
        auto promise = promise_of(me->self);
        auto root = me->driver->root(where.volume);
        if (root)
          promise.deliver(root_mount_ptr{std::make_shared<root_mount>(*root)});
        else
          promise.deliver(to_caf(root.error()));
        return promise;
      },
      [me](const borrow_driver&) { return me->driver; },
      [me](const step_act& act) {
        return in_turn(me->self, me->with, act.operation,
                       [me, act](sure_promise promise) { perform(me, act.step, act.operation, promise); });
      },
      [me](const step_undo& undo) {
        return in_turn(me->self, me->with, undo.operation,
                       [me, undo](sure_promise promise) { take_back(me, undo.step, promise); });
      },
      [me](const step_interrupt& stop) { interrupt(me, stop.operation); },
      [](resume& back) { back.run(); },
  };
  self->attach_functor([me] { // they refer to us
    me->serve = {};
    for (auto& [fingerprint, load] : me->loading) load.waiters.clear();
  });
  // What comes before the pool is up waits in the mailbox.
  self->set_default_handler(caf::skip);
  return {
      [me](open_pool) -> caf::response_promise {
        auto promise = promise_of(me->self);
        on_blocking_thread(
            me->self, me->with, [driver = me->driver] { return driver->open(); },
            [me, promise](outcome<void> done) mutable {
              if (done) {
                sweep_images(me);
              } else {
                me->self->set_default_handler(caf::print_and_drop);
                me->self->become(me->serve);
              }
              answer(promise, done);
            });
        return promise;
      },
      [](resume& back) { back.run(); },
  };
}

} // namespace troupe
