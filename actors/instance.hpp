#pragma once

#include "actors/exit_watch.hpp"
#include "actors/instance_lifecycle.hpp"
#include "actors/operations.hpp"
#include "actors/records.hpp"
#include "actors/saga.hpp"
#include "runtime/child.hpp"

#include <deque>

namespace troupe {

using status_record = message<schema::InstanceStatus>;
using spec_record = message<schema::InstanceSpec>;

/// For whom a request is; the instances actor activates that instance and passes the request on.
struct to_instance {
  std::string project, name;
};

/// Ask for a command to be run. Answered with the session; the descriptors of the plan are consumed.
struct run_exec {
  std::shared_ptr<const header> head;
  std::shared_ptr<exec_plan> plan;
  bool console = false; // no command: sit down at the console; of the plan only the size counts
};
using exec_session_ptr = std::shared_ptr<exec_session>;

/// Deletes the record, then the volume.
struct delete_instance {
  std::shared_ptr<const header> head;
};

/// How the files of an instance are reached right now, and by whom.
struct locate_root {
  std::shared_ptr<const header> head;
};
struct located_root : file_root {
  instance_driver* driver = nullptr; // of the services
};
using file_root_ptr = std::shared_ptr<const located_root>;

/// Devices of the host have come or gone.
struct host_changed {};

/// INTERNAL: what the host says of the instance's processes; `life` tells this life from an older one.
struct monitor_ended {
  uint64_t life = 0;
};
struct leader_ended {
  uint64_t life = 0;
};
struct halt_timeout {
  uint64_t life = 0;
  bool forced = false; // of a forced stop
};

struct instance_data {
  services& with;
  caf::event_based_actor* self;
  std::string project, name;
  schema::InstanceType type = schema::InstanceType::CONTAINER; // it never changes
  instance_state now = instance_state::STOPPED;
  status_record status;
  uint64_t life = 0; // grows with every boot and reboot
  std::unique_ptr<exit_watch> monitor_watch, leader_watch;

  std::string busy_with; // id of the running operation
  bool busy = false;     // from a request's acceptance to its operation's end
  std::string claimed;   // for which instance (PROJECT/NAME) the operation took of a project's limits; empty: none
  std::deque<std::function<void()>> queue;

  expansion live;    // the devices and limits that the running one has
  device_map booted; // the devices it began with
  std::map<std::string, std::shared_ptr<child>, std::less<>> forwarding; // proxies, by device
  bool adapting = false;
  std::deque<std::function<void()>> adaptations;

  std::vector<message<schema::Event>> untold; // transitions; they go with the next commit of the status

  sure_promise halting; // a halt step that waits for the end
  bool halt_forced = false;
  bool boot_abandoned = false; // a forced stop came while it was starting

  bool telling_ready = false;         // what the guest has said of itself is on its way to the disk
  std::optional<uint64_t> ready_life; // the life that is known to have become ready

  std::string last_words; // of a virtual machine, why it is about to end

  bool clearing = false; // what the last life left on the host is being removed
  std::vector<std::function<void()>> when_clear;

  std::string id() const { return in_project(project, name); }
  std::string key() const { return instance_key(project, name); }
  std::string url() const { return "/1.0/instances/" + name; }
  bool is_machine() const { return type == schema::InstanceType::VIRTUAL_MACHINE; }
  instance_driver& driver() const { return with.driver(type); }
  std::string volume() const { return volume_word(type, key()); } // as steps name it
  std::optional<spec_record> spec() const { return load<schema::InstanceSpec>(with.db.read(), table::instances, id()); }
};
using instance_ptr = std::shared_ptr<instance_data>;

/// The INSTANCE actor: owns one instance's life. Restores itself from the record and from what runs on the host.
/// (envelope<UpdateInstance>), (envelope<RenameInstance>), (envelope<ChangeInstanceState>), (delete_instance) ->
/// operation_record (run_exec) -> exec_session_ptr; (locate_root) -> file_root_ptr; (step_act), (step_undo): as every
/// performer.
caf::behavior instance(caf::event_based_actor* self, services& with, std::string project, std::string name);

// Parts of its behaviour, each in its file.

/// instance_change.cpp: requests that become sagas.
id_range choose_ids(const services& with, const snapshot& records, const config_map& config, std::string_view except);
write put_record(const instance_data& me, const spec_record& spec);
/// PUT and PATCH; `down`: judge it as of an instance that does not run.
outcome<std::shared_ptr<saga>> plan_change(const instance_data& me, const envelope<schema::UpdateInstance>& request,
                                           bool down);
bool is_down(const instance_data& me);
/// A saga about this instance, still without steps and commit.
std::shared_ptr<saga> instance_saga(const instance_data& me, std::shared_ptr<const header> head, std::string kind,
                                    std::string description);
saga_step step_of(const instance_data& me, std::string kind, config_map args = {});
outcome<std::shared_ptr<saga>> plan_update(const instance_data& me, const envelope<schema::UpdateInstance>& request);
outcome<std::shared_ptr<saga>> plan_delete(const instance_data& me, const delete_instance& request);
outcome<std::shared_ptr<saga>> plan_state_change(const instance_data& me,
                                                 const envelope<schema::ChangeInstanceState>& request);

/// instance_move.cpp: another name, pool or project.
outcome<std::shared_ptr<saga>> plan_rename(const instance_data& me, const envelope<schema::RenameInstance>& request);
/// instance_rebuild.cpp: the volume anew from an image, or empty.
outcome<std::shared_ptr<saga>> plan_rebuild(const instance_data& me, const envelope<schema::RebuildInstance>& request);

/// instance_boot.cpp: what a boot needs, from the records, and the expansion it comes from; blocking (reads templates).
struct planned_boot {
  boot_plan plan;
  expansion effective;
};
outcome<planned_boot> make_boot_plan(services& with, const spec_record& spec, root_mount root);

/// instance_power.cpp: the steps that boot, halt, freeze and thaw.
caf::response_promise perform(const instance_ptr& me, const step_act& act);
caf::response_promise take_back(const instance_ptr& me, const step_undo& undo);

/// instance_machine.cpp: what a running virtual machine tells.
void on_machine_news(const instance_ptr& me, const machine_news& told);

/// instance_host.cpp: what the host reports of the instance's processes.
void restore(const instance_ptr& me, const status_record& recorded);
void on_monitor_ended(const instance_ptr& me, uint64_t life);
void on_leader_ended(const instance_ptr& me, uint64_t life);
void on_halt_timeout(const instance_ptr& me, const halt_timeout& late);

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::to_instance)
TROUPE_LOCAL_MESSAGE(troupe::run_exec)
TROUPE_LOCAL_MESSAGE(troupe::exec_session_ptr)
TROUPE_LOCAL_MESSAGE(troupe::delete_instance)
TROUPE_LOCAL_MESSAGE(troupe::locate_root)
TROUPE_LOCAL_MESSAGE(troupe::file_root_ptr)
TROUPE_LOCAL_MESSAGE(troupe::host_changed)
TROUPE_LOCAL_MESSAGE(troupe::monitor_ended)
TROUPE_LOCAL_MESSAGE(troupe::leader_ended)
TROUPE_LOCAL_MESSAGE(troupe::halt_timeout)
TROUPE_LOCAL_MESSAGE(troupe::machine_news)
