#include "actors/operations.hpp"

#include "actors/operation_record.hpp"
#include "actors/records.hpp"
#include "actors/store_actor.hpp"
#include "runtime/uuid.hpp"

#include <caf/event_based_actor.hpp>

namespace troupe {
namespace {

struct operations_data {
  services& with;
  std::map<std::string, caf::actor> running;
  std::map<std::string, std::vector<caf::response_promise>> waiting;
  std::map<std::string, operation_record> live; // as they began: nobody waits for these to be on disk
};
using data_ptr = std::shared_ptr<operations_data>;

constexpr size_t running_max = 10'000;

// What a crash left: each is finished by an operation actor of its own.
void recover(caf::event_based_actor* self, data_ptr all) {
  auto view_of_disk = all->with.db.read();
  view_of_disk.scan(table::journal, "", [&](std::string_view id, std::string_view phase) {
    if (auto record = load<schema::Operation>(view_of_disk, table::operations, id))
      all->running.emplace(id, self->spawn([&with = all->with, record = *record,
                                            committed = phase == "committed"](caf::event_based_actor* child) {
        return operation_recovery(child, with, record, committed);
      }));
    return true;
  });
}

caf::result<operation_record> await(caf::event_based_actor* self, data_ptr all, const std::string& id) {
  if (all->running.count(id)) {
    auto promise = self->make_response_promise<operation_record>();
    all->waiting[id].push_back(promise);
    return promise;
  }
  if (auto record = load<schema::Operation>(all->with.db.read(), table::operations, id)) return *record;
  return to_caf({fault::not_found, "Operation not found"});
}

} // namespace

caf::behavior operations(caf::event_based_actor* self, services& with) {
  auto all = std::make_shared<operations_data>(operations_data{with, {}, {}, {}});
  recover(self, all);
  end_children_with(self, [all](auto each) {
    for (auto& [id, child] : all->running) each(child);
  });
  return {
      [self, all](const begin_saga& request) -> caf::result<operation_record> {
        if (all->running.size() >= running_max)
          return to_caf({fault::busy, "Too many operations are running; try again later"});
        auto id = make_uuid_v7();
        auto record = make_record(*request.what, id, all->with.server_name);
        auto child = self->spawn([&with = all->with, record, what = request.what](caf::event_based_actor* actor) {
          return operation(actor, with, record, what);
        });
        all->running.emplace(id, child);
        return hand_over<operation_record>(self, child, request);
      },
      [self, all](const begin_live& request) {
        auto id = make_uuid_v7();
        auto record = make_record(request, id, all->with.server_name);
        all->running.emplace(id, self->spawn([&with = all->with, record](caf::event_based_actor* actor) {
          return live_operation(actor, with, record);
        }));
        all->live.emplace(id, record);
        return record;
      },
      [self, all](const finish_live& last) {
        if (auto at = all->running.find(last.id); at != all->running.end()) self->send(at->second, last);
      },
      [self, all](const operation_progress& progress) {
        if (auto at = all->running.find(progress.id); at != all->running.end()) self->send(at->second, progress);
      },
      [self, all](const await_operation& request) { return await(self, all, request.id); },
      [all](const find_operation& request) -> caf::result<operation_record> {
        if (auto at = all->live.find(request.id); at != all->live.end()) return at->second;
        return to_caf({fault::not_found, "Operation not found"});
      },
      [self, all](const cancel_operation& request) -> caf::result<caf::unit_t> {
        auto at = all->running.find(request.id);
        if (at != all->running.end()) return hand_over<caf::unit_t>(self, at->second, request);
        if (all->with.db.read().get(table::operations, request.id))
          return to_caf({fault::invalid, "This operation can't be cancelled"});
        return to_caf({fault::not_found, "Operation not found"});
      },
      [self, all](const operation_over& over) {
        auto id = id_of(over.record);
        all->running.erase(id);
        all->live.erase(id);
        auto waiters = all->waiting.extract(id);
        if (!waiters.empty())
          for (auto& promise : waiters.mapped()) promise.deliver(over.record);
      },
      [](const operation_ended&) {},
  };
}

} // namespace troupe
