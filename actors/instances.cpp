#include "actors/instances.hpp"

#include "actors/ask.hpp"
#include "actors/backup_steps.hpp"
#include "actors/children.hpp"
#include "actors/guest.hpp"
#include "actors/instance_backup.hpp"
#include "actors/instance_snapshot.hpp"
#include "actors/instance_waves.hpp"
#include "actors/names.hpp"
#include "actors/networks.hpp"
#include "actors/operation_record.hpp"
#include "actors/project_claims.hpp"
#include "actors/retention.hpp"
#include "actors/store_actor.hpp"
#include "runtime/host_events.hpp"

#include <algorithm>
#include <caf/event_based_actor.hpp>
#include <filesystem>
#include <set>

namespace troupe {
namespace {

constexpr std::string_view id_counter = "instance";

struct instances_data {
  services& with;
  caf::event_based_actor* self;
  std::map<std::string, caf::actor> active;
  std::map<std::string, std::string> creating; // operation -> instance (PROJECT/NAME)
  std::map<std::string, std::string> arriving; // instance -> what it moves to
  std::set<std::string> reserved;              // the same instances: a name is taken from the first request on
  std::set<std::string> unaccounted;           // those of before a failure: nobody knows what they take
  project_claims claims;
  std::set<std::string> cut_off; // that ran when the host went down without a word
  std::map<std::string, std::shared_ptr<const started_import>> imports; // upload number -> what came in
  std::map<std::string, std::shared_ptr<cancel_token>> working;         // operation -> ends the work on its archive
  std::map<std::string, std::string> import_of;                         // operation -> upload number
  uint64_t next_upload = 1;
  uint64_t next_id = 1;
  std::unique_ptr<host_events> host;
};
using data_ptr = std::shared_ptr<instances_data>;

std::pair<std::string, std::string> split_key(const std::string& key) {
  auto slash = key.find('/');
  return {key.substr(0, slash), key.substr(slash + 1)};
}

caf::actor activate(const data_ptr& all, const std::string& project, const std::string& name) {
  auto key = in_project(project, name);
  auto at = all->active.find(key);
  if (at != all->active.end()) return at->second;
  auto start = [&with = all->with, project, name](caf::event_based_actor* actor) {
    return instance(actor, with, project, name);
  };
  auto child = spawn_child(all->self, all->with, "instance", key, start);
  return all->active.emplace(key, child).first->second;
}

// Running instances must be watched from the start; stopped ones wait in the database.
void adopt_running(const data_ptr& all) {
  auto records = all->with.db.read();
  records.scan(table::statuses, "", [&](std::string_view key, std::string_view bytes) {
    auto state = status_record::from_bytes(bytes).read([](auto s) { return s.getState(); });
    if (state == instance_state::STOPPED) return true;
    auto [project, name] = split_key(std::string{key});
    activate(all, project, name);
    return true;
  });
  if (auto bytes = records.get(table::counters, id_counter)) all->next_id = std::stoull(std::string{*bytes}) + 1;
}

// After a failure of this actor: what is being created keeps its name until that has ended. (When the daemon begins
// there is nobody to ask yet; then the operations themselves refuse what meets unfinished work.)
void reserve_unfinished(const data_ptr& all) {
  auto operations = all->with.find(role::operations);
  if (!operations) return;
  auto records = all->with.db.read();
  records.scan(table::journal, "", [&](std::string_view id, std::string_view) {
    auto record = load<schema::Operation>(records, table::operations, id);
    if (!record) return true;
    auto [kind, entity] = record->read([](auto op) { return std::pair{text(op.getKind()), text(op.getEntity())}; });
    if (kind != "instance.create" && kind != "instance.import") return true;
    auto key = entity.substr(entity.find('/') + 1);
    all->reserved.insert(key);
    all->unaccounted.insert(key);
    auto ended = [all, key](const outcome<operation_record>&) {
      all->reserved.erase(key);
      all->unaccounted.erase(key);
    };
    ask<operation_record>(all->self, operations, await_operation{std::string{id}}, ended);
    return true;
  });
}

template <class Reply, class Request>
caf::result<Reply> pass_on(const data_ptr& all, const to_instance& to, const Request& request) {
  auto key = in_project(to.project, to.name);
  if (!all->active.count(key) && !all->with.db.read().get(table::instances, key))
    return to_caf({fault::not_found, "Instance not found"});
  return hand_over<Reply>(all->self, activate(all, to.project, to.name), request);
}

void release(const data_ptr& all, const std::string& key) {
  auto [project, name] = split_key(key);
  all->claims.release(project, name);
  all->reserved.erase(key);
}

outcome<void> grant(const data_ptr& all, const std::string& project, const std::string& name, const project_use& most) {
  auto first = all->unaccounted.lower_bound(project + "/");
  if (first != all->unaccounted.end() && first->starts_with(project + "/"))
    return fail(fault::busy, "An earlier creation in this project has not ended yet; try again");
  return all->claims.grant(all->with.db.read(), project, name, most);
}

// Of an instance that changes, or that moves and becomes another.
outcome<void> grant(const data_ptr& all, const claim_use& wanted) {
  bool moves = wanted.instance != wanted.by;
  if (moves && all->reserved.count(wanted.instance))
    return fail(fault::already_exists, "This instance is being created already");
  auto [project, name] = split_key(wanted.instance);
  auto granted = grant(all, project, name, wanted.most);
  if (!granted || !moves) return granted;
  all->reserved.insert(wanted.instance);
  all->arriving.emplace(wanted.by, wanted.instance);
  return {};
}

void release_claims_of(const data_ptr& all, const std::string& key) {
  auto [project, name] = split_key(key);
  all->claims.release(project, name);
  if (auto at = all->arriving.find(key); at != all->arriving.end()) {
    release(all, at->second);
    all->arriving.erase(at);
  }
}

// A refreshed copy that is not there yet is a copy.
std::optional<to_instance> refreshed_by(const data_ptr& all, const envelope<schema::CreateInstance>& request) {
  auto name = request.body.read([](schema::CreateInstance::Reader post) {
    return post.getSource().getRefresh() ? text(post.getName()) : std::string{};
  });
  auto& project = request.head->project;
  if (name.empty() || !all->with.db.read().get(table::instances, in_project(project, name))) return std::nullopt;
  return to_instance{project, name};
}

// `upload`: number of the import that it is, or empty.
caf::result<operation_record> create(const data_ptr& all, outcome<std::shared_ptr<saga>> plan,
                                     const std::string& upload = {}) {
  auto refuse = [&](const error& why) {
    all->imports.erase(upload);
    return to_caf(why);
  };
  if (!plan) return refuse(plan.error());
  auto key = (*plan)->entity.substr((*plan)->entity.find('/') + 1);
  if (all->reserved.count(key)) return refuse({fault::already_exists, "This instance is being created already"});
  if (auto& claim = (*plan)->claim) {
    auto [project, name] = split_key(key);
    if (auto granted = grant(all, project, name, *claim); !granted) return refuse(granted.error());
  }
  all->reserved.insert(key);
  ++all->next_id;
  (*plan)->owner = all->self;
  auto promise = promise_of(all->self);
  auto begun = [all, promise, key, upload](const outcome<operation_record>& record) {
    if (record) {
      all->creating.emplace(id_of(*record), key);
      if (!upload.empty()) all->import_of.emplace(id_of(*record), upload);
    } else {
      release(all, key);
      all->imports.erase(upload);
    }
    answer(promise, record);
  };
  ask<operation_record>(all->self, all->with.find(role::operations), begin_saga{*plan}, begun);
  return promise;
}

caf::result<operation_record> create(const data_ptr& all, const envelope<schema::CreateInstance>& request) {
  if (auto there = refreshed_by(all, request)) return pass_on<operation_record>(all, *there, request);
  return create(all, plan_create(all->with, request, all->next_id));
}

caf::result<operation_record> import(const data_ptr& all, const import_backup& request) {
  auto number = std::to_string(all->next_upload++);
  auto begun = std::make_shared<started_import>();
  auto plan = plan_import(all->with, request, all->next_id, number, *begun);
  all->imports.emplace(number, begun);
  return create(all, std::move(plan), number);
}

// Every few megabytes of an archive; the total is known where one is read.
progress_sink report_to(const services& with, const std::string& operation, std::string key, std::string what) {
  return [operations = with.find(role::operations), operation, key = std::move(key),
          what = std::move(what)](uint64_t done, uint64_t total) {
    auto text = what + (total ? std::to_string(done * 100 / total) + "%" : std::to_string(done >> 20) + "MiB");
    caf::anon_send(operations, operation_progress{operation, key, text, "bytes", done, total});
  };
}

using archive_work = std::function<outcome<step_result_ptr>(const cancel_token& stop)>;

archive_work work_of(const data_ptr& all, const step_act& act) {
  auto& with = all->with;
  if (act.step.kind == "backup.pack")
    return [&with, step = act.step, sink = report_to(with, act.operation, "create_backup_progress", "Packing: ")](
               const cancel_token& stop) { return pack_backup(with, step, sink, stop); };
  if (act.step.kind == "backup.forget")
    return [&with, step = act.step](const cancel_token&) {
      return forget_backup(with, step).map([] { return step_result_ptr{std::make_shared<step_result>()}; });
    };
  auto at = all->imports.find(std::string{get(act.step.args, "upload")});
  if (at == all->imports.end()) return [](const cancel_token&) { return fail(fault::internal, "The upload is gone"); };
  return [&with, step = act.step, from = at->second,
          sink = report_to(with, act.operation, "create_instance_from_backup_progress", "Unpacking: ")](
             const cancel_token& stop) { return unpack_import(with, step, *from, sink, stop); };
}

void work_on_archive(const data_ptr& all, const step_act& act, sure_promise promise) {
  auto stop = all->working[act.operation] = std::make_shared<cancel_token>();
  on_blocking_thread(
      all->self, all->with, [work = work_of(all, act), stop] { return work(*stop); },
      [all, promise, operation = act.operation](const outcome<step_result_ptr>& done) {
        all->working.erase(operation);
        answer(promise, done);
      });
}

void take_back_archive(const data_ptr& all, const step_undo& undo, sure_promise promise) {
  all->imports.erase(std::string{get(undo.step.args, "upload")});
  on_blocking_thread(
      all->self, all->with,
      [&with = all->with, step = undo.step] {
        return step.kind == "backup.pack" ? forget_backup(with, step) : outcome<void>{};
      },
      [promise](const outcome<void>& done) { answer(promise, done); });
}

bool is_of_archives(const saga_step& step) { return step.kind.starts_with("backup."); }

// What an instance leaves outside of its volume: logs, its name in DHCP and DNS, its lease.
void forget(const data_ptr& all, const step_act& step, sure_promise promise) {
  auto project = std::string{get(step.step.args, "project")}, name = std::string{get(step.step.args, "name")};
  if (auto at = all->active.find(in_project(project, name)); at != all->active.end()) {
    all->self->send_exit(at->second, caf::exit_reason::user_shutdown);
    all->active.erase(at);
  }
  auto key = instance_key(project, name);
  auto rest = [all, promise, key, to = std::string{get(step.step.args, "logs_to")}](const outcome<void>& forgotten) {
    if (!forgotten) log().warn("{}", forgotten.error().message);
    on_blocking_thread(
        all->self, all->with,
        [logs = all->with.dir.logs + "/", to, &with = all->with, key]() -> outcome<void> {
          std::error_code ignored;
          // Logs go with who has another name now, unless there are newer ones under it already.
          if (!to.empty()) std::filesystem::rename(logs + key, logs + to, ignored);
          std::filesystem::remove_all(logs + key, ignored);
          with.containers.sweep(key);
          with.machines.sweep(key);
          return {};
        },
        [promise](outcome<void>) mutable { promise.deliver(step_result_ptr{std::make_shared<step_result>()}); });
  };
  ask<void>(all->self, all->with.find(role::networks), forget_host{"", key, ""}, rest);
}

envelope<schema::ChangeInstanceState> change_to(const std::string& project, const char* action, int64_t timeout,
                                                bool force) {
  auto head = std::make_shared<header>();
  head->project = project;
  return {message<schema::ChangeInstanceState>::make([&](schema::ChangeInstanceState::Builder put) {
            put.setAction(action);
            put.setTimeout(timeout);
            put.setForce(force);
          }),
          head};
}

// `then` comes in any case, with whether it came to its end.
void change_one(const data_ptr& all, const std::string& key, const char* action, int64_t timeout, bool force,
                std::function<void(bool)> then) {
  auto [project, name] = split_key(key);
  auto ended = [key, then](const outcome<operation_record>& record) {
    bool good = record && record->read([](auto op) { return op.getState() == schema::Operation::State::SUCCEEDED; });
    if (!good)
      log().warn("Instance {} did not come along: {}", key, record ? "its operation failed" : record.error().message);
    then(good);
  };
  auto begun = [all, ended](const outcome<operation_record>& record) {
    if (!record) return ended(record);
    auto id = record->read([](auto op) { return text(op.getId()); });
    ask<operation_record>(all->self, all->with.find(role::operations), await_operation{id}, ended);
  };
  ask<operation_record>(all->self, activate(all, project, name), change_to(project, action, timeout, force), begun);
}

using one_change =
    std::function<void(const std::string& key, std::chrono::seconds timeout, std::function<void()> then)>;

void run_waves(const data_ptr& all, std::shared_ptr<std::vector<wave>> waves, size_t at, one_change change,
               std::function<void()> then) {
  if (at == waves->size()) return then();
  auto& now = (*waves)[at];
  auto left = std::make_shared<size_t>(now.members.size());
  auto one_done = [all, waves, at, change, then, left] {
    if (--*left > 0) return;
    auto next = [all, waves, at, change, then] { run_waves(all, waves, at + 1, change, then); };
    if ((*waves)[at].pause.count() == 0 || at + 1 == waves->size()) return next();
    all->self->delayed_send(all->self, (*waves)[at].pause, resume{next});
  };
  for (auto& [key, timeout] : now.members) change(key, timeout, one_done);
}

// Names that cannot be PROJECT/NAME stand with the counters: who ran when the host was shut down.
constexpr std::string_view gone_down = "instances that went down with the host";

void start_all(const data_ptr& all) {
  auto records = all->with.db.read();
  auto ran = all->cut_off;
  if (auto list = records.get(table::counters, gone_down)) {
    for (auto& key : words_of(*list)) ran.insert(key);
    batch forget;
    forget.writes.push_back(erase(table::counters, std::string{gone_down}));
    propose_quietly(all->self, all->with, std::move(forget));
  }
  auto waves = std::make_shared<std::vector<wave>>(waves_to_start(records, ran));
  auto start = [all](const std::string& key, std::chrono::seconds, std::function<void()> then) {
    auto status = load<schema::InstanceStatus>(all->with.db.read(), table::statuses, key);
    bool runs = status && status->read([](auto s) { return s.getMonitor() > 0; });
    if (runs) return then();
    change_one(all, key, "start", -1, false, [then](bool) { then(); });
  };
  run_waves(all, waves, 0, start, [] {});
}

void stop_all(const data_ptr& all, sure_promise promise) {
  auto waves = std::make_shared<std::vector<wave>>(waves_to_stop(all->with.db.read()));
  std::string list;
  for (auto& one : *waves)
    for (auto& [key, timeout] : one.members) list += (list.empty() ? "" : ",") + key;
  batch remember;
  remember.writes.push_back({table::counters, std::string{gone_down}, list});
  propose_quietly(all->self, all->with, std::move(remember));
  auto stop = [all](const std::string& key, std::chrono::seconds timeout, std::function<void()> then) {
    change_one(all, key, "stop", timeout.count(), false, [all, key, then](bool stopped) {
      if (stopped) return then();
      change_one(all, key, "stop", -1, true, [then](bool) { then(); });
    });
  };
  run_waves(all, waves, 0, stop, [promise] { promise.deliver(caf::unit); });
}

template <class Step, class Reply>
caf::result<Reply> to_performer(const data_ptr& all, const Step& step) {
  auto project = std::string{get(step.step.args, "project")}, name = std::string{get(step.step.args, "name")};
  return hand_over<Reply>(all->self, activate(all, project, name), step);
}

} // namespace

caf::behavior instances(caf::event_based_actor* self, services& with) {
  auto all = std::make_shared<instances_data>(instances_data{with, self});
  all->cut_off = cut_off(with.db.read());
  adopt_running(all);
  reserve_unfinished(all);
  auto heard = [&with] { caf::anon_send(with.find(role::instances), host_changed{}); };
  if (auto events = host_events::listen(with.io, heard))
    all->host = std::move(*events);
  else
    log().warn("{}", events.error().message);
  end_children_with(self, [all](auto each) {
    for (auto& [name, child] : all->active) each(child);
  });
  self->set_down_handler([self, all](caf::down_msg& down) {
    auto is_it = [&](auto& entry) { return entry.second.address() == down.source; };
    auto at = std::find_if(all->active.begin(), all->active.end(), is_it);
    if (at == all->active.end()) return;
    auto key = at->first;
    all->active.erase(at);
    release_claims_of(all, key);
    if (!has_failed(down)) return;
    tell_of_restart(self, all->with, "instance", key, down);
    adopt_running(all);
  });
  return {
      [all](const envelope<schema::CreateInstance>& request) { return create(all, request); },
      [all](const import_backup& request) { return import(all, request); },
      [all](const to_instance& to, const envelope<schema::BackupsPost>& request) {
        return pass_on<operation_record>(all, to, request);
      },
      [all](const to_instance& to, const change_backup& request) {
        return pass_on<operation_record>(all, to, request);
      },
      [all](const to_instance& to, const envelope<schema::UpdateInstance>& request) {
        return pass_on<operation_record>(all, to, request);
      },
      [all](const to_instance& to, const envelope<schema::RenameInstance>& request) {
        return pass_on<operation_record>(all, to, request);
      },
      [all](const to_instance& to, const envelope<schema::RebuildInstance>& request) {
        return pass_on<operation_record>(all, to, request);
      },
      [all](const to_instance& to, const envelope<schema::ChangeInstanceState>& request) {
        return pass_on<operation_record>(all, to, request);
      },
      [all](const to_instance& to, const delete_instance& request) {
        return pass_on<operation_record>(all, to, request);
      },
      [all](const to_instance& to, const envelope<schema::SnapshotsPost>& request) {
        return pass_on<operation_record>(all, to, request);
      },
      [all](const to_instance& to, const change_snapshot& request) {
        return pass_on<operation_record>(all, to, request);
      },
      [all](const to_instance& to, const prune_snapshots& request) {
        return pass_on<operation_record>(all, to, request);
      },
      [all](const to_instance& to, const run_exec& request) { return pass_on<exec_session_ptr>(all, to, request); },
      [all](const to_instance& to, const locate_root& request) { return pass_on<file_root_ptr>(all, to, request); },
      [all](const to_instance& to, const guest_ready& said) { return pass_on<caf::unit_t>(all, to, said); },
      [all](const step_act& step) -> caf::result<step_result_ptr> {
        if (is_of_archives(step.step)) {
          in_turn(all->self, all->with, step.operation,
                  [all, step](sure_promise promise) { work_on_archive(all, step, promise); });
          return caf::delegated<step_result_ptr>{};
        }
        if (step.step.kind != "instance.forget") return to_performer<step_act, step_result_ptr>(all, step);
        in_turn(all->self, all->with, step.operation,
                [all, step](sure_promise promise) { forget(all, step, promise); });
        return caf::delegated<step_result_ptr>{};
      },
      [all](const step_interrupt& stop) {
        if (auto at = all->working.find(stop.operation); at != all->working.end()) at->second->cancel();
      },
      [all](const step_undo& step) -> caf::result<caf::unit_t> {
        if (is_of_archives(step.step)) {
          in_turn(all->self, all->with, step.operation,
                  [all, step](sure_promise promise) { take_back_archive(all, step, promise); });
          return caf::delegated<caf::unit_t>{};
        }
        return to_performer<step_undo, caf::unit_t>(all, step);
      },
      [all](const operation_ended& over) {
        auto at = all->creating.find(over.id);
        if (at == all->creating.end()) { // recovered: one of the instances may have waited for it
          for (auto& [name, child] : all->active) all->self->send(child, over);
          return;
        }
        release(all, at->second);
        if (auto upload = all->import_of.extract(over.id)) all->imports.erase(upload.mapped());
        all->creating.erase(at);
      },
      [all](host_changed) {
        for (auto& [name, child] : all->active) all->self->send(child, host_changed{});
      },
      [all](const machine_news& told) {
        auto at = all->active.find(id_of_key(all->with.db.read(), told.key));
        if (at != all->active.end()) all->self->send(at->second, told);
      },
      [all](start_waves) { start_all(all); },
      [all](stop_waves) -> caf::result<caf::unit_t> {
        auto promise = promise_of(all->self);
        stop_all(all, promise);
        return promise;
      },
      [all](const claim_use& wanted) -> caf::result<caf::unit_t> {
        auto granted = grant(all, wanted);
        if (!granted) return to_caf(granted.error());
        return caf::unit;
      },
      [all](const release_use& over) {
        auto is_it = [&](auto& entry) { return entry.second == over.instance; };
        auto at = std::find_if(all->arriving.begin(), all->arriving.end(), is_it);
        release_claims_of(all, at == all->arriving.end() ? over.instance : at->first);
      },
      [](resume& back) { back.run(); },
  };
}

} // namespace troupe
