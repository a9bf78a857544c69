#include "actors/certificates.hpp"
#include "actors/event_log.hpp"
#include "actors/identities.hpp"
#include "actors/images.hpp"
#include "actors/instances.hpp"
#include "actors/networks.hpp"
#include "actors/operations.hpp"
#include "actors/pools.hpp"
#include "actors/profiles.hpp"
#include "actors/projects.hpp"
#include "actors/scheduler.hpp"
#include "actors/sinks.hpp"
#include "actors/store_actor.hpp"
#include "actors/warnings.hpp"
#include "backends/instance/lxc/lxc_driver.hpp"
#include "backends/instance/qemu/qemu_driver.hpp"
#include "gateway/bus_door.hpp"
#include "gateway/door.hpp"
#include "gateway/guest_door.hpp"
#include "gateway/migration/transfers.hpp"
#include "gateway/rest_door.hpp"
#include "gateway/syscall_door.hpp"
#include "gateway/tls_listeners.hpp"
#include "runtime/config.hpp"
#include "runtime/fault_points.hpp"
#include "runtime/limits.hpp"
#include "runtime/measured_actor.hpp"
#include "runtime/memory.hpp"
#include "runtime/notify.hpp"
#include "runtime/state_dir.hpp"
#include "runtime/supervisor.hpp"

#include <algorithm>
#include <atomic>
#include <caf/actor_system_config.hpp>
#include <caf/scoped_actor.hpp>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sys/signalfd.h>
#include <thread>

// The daemon: reads like a list of its parts, from the ground up.

using namespace troupe;

namespace {

constexpr size_t blocking_threads_max = 24;

// Actors never block, so few threads do; each more costs a wake-up for every message that goes from one to another.
size_t actor_threads() { return std::clamp<size_t>(std::thread::hardware_concurrency() / 4, 1, 4); }

std::string host_name() {
  char name[256] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

// What root may map on this host: its line of /etc/subuid, else LXD's default.
id_range subordinate_ids() {
  std::ifstream in{"/etc/subuid"};
  for (std::string line; std::getline(in, line);) {
    unsigned long first = 0, count = 0;
    if (std::sscanf(line.c_str(), "root:%lu:%lu", &first, &count) == 2 && count >= 65536)
      return {static_cast<uint32_t>(first), static_cast<uint32_t>(count)};
  }
  return {1'000'000, 1'000'000'000};
}

template <caf::spawn_options Options = caf::no_spawn_options, class Behavior>
actor_spec part(std::string id, role who, services& with, Behavior behavior) {
  return {id, [id, who, &with, behavior](caf::event_based_actor* parent) {
            auto started = parent->spawn<measured_actor, Options>(
                with.counted->begin_mailbox(id),
                [&with, behavior](caf::event_based_actor* self) { return behavior(self, with); });
            with.enter(who, started);
            if (with.faults) with.faults->enter(id, "", started);
            return started;
          }};
}

std::function<void(const std::string&, const std::string&)> tell_of_restart(services& with) {
  return [&with](const std::string& child, const std::string& why) {
    with.counted->actor_restarted(child);
    auto told = std::make_shared<batch>();
    told->events.push_back(restart_event(child, why));
    caf::anon_send(with.find(role::store), propose{told});
    raise_warning(with, warnings::part_restarted, "", "/1.0", child + ": " + why);
  };
}

supervisor_spec parts(services& with, blocking_pool& sink_threads, tls_listeners& listeners, guest_door& guests,
                      transfers& moves) {
  supervisor_spec all;
  all.name = "parts";
  all.on_failure = strategy::one_for_one;
  all.on_restart = tell_of_restart(with);
  all.children = {
      part("events", role::events, with, event_log),
      part("pools", role::pools, with, pools),
      part("networks", role::networks, with, networks),
      part("images", role::images, with, images),
      part("profiles", role::profiles, with, profiles),
      part("projects", role::projects, with, projects),
      part("server", role::server, with, server),
      part("certificates", role::certificates, with, certificates),
      part("identities", role::identities, with, identities),
      part("doors", role::doors, with,
           [&listeners, &guests, &moves](auto* self, services& known) {
             return doors(self, known, listeners, guests, moves);
           }),
      part("instances", role::instances, with, instances),
      part("operations", role::operations, with, operations),
      part("scheduler", role::scheduler, with, scheduler),
      part("sinks", role::sinks, with,
           [&sink_threads](auto* self, services& known) { return sinks(self, known, sink_threads); }),
      part("rest_door", role::rest_door, with, door),
      part("bus_door", role::bus_door, with, door),
  };
  return all;
}

// A change may be on its way to the store from any part: if it fails, all begin anew with what is on disk.
supervisor_spec tree(services& with, blocking_pool& sink_threads, tls_listeners& listeners, guest_door& guests,
                     transfers& moves) {
  supervisor_spec root;
  root.name = "root";
  root.on_failure = strategy::rest_for_one;
  root.on_restart = tell_of_restart(with);
  root.children = {
      part<caf::detached>("store", role::store, with, store_actor), // commits block: a thread of its own
      {"parts",
       [&with, &sink_threads, &listeners, &guests, &moves](caf::event_based_actor* parent) {
         auto started = spawn_supervisor(parent, parts(with, sink_threads, listeners, guests, moves));
         if (with.faults) with.faults->enter("supervisor", "parts", started);
         return started;
       }},
  };
  return root;
}

// Returns when every part can be asked for: nobody is let in before.
void wait_for_the_parts(caf::actor_system& system, const caf::actor& root) {
  caf::scoped_actor asks{system};
  auto find = [&](const caf::actor& below, std::string id) {
    caf::actor found;
    asks->request(below, caf::infinite, caf::get_atom::value, std::move(id))
        .receive([&](const caf::actor& it) { found = it; }, [](const caf::error&) {});
    return found;
  };
  if (auto all = find(root, "parts")) find(all, "bus_door");
}

// A new database gets what every LXD server has from the start.
outcome<void> make_first_records(store& db) {
  if (db.read().get(table::projects, "default")) return {};
  batch first;
  first.writes.push_back(
      put(table::projects, "default", message<schema::ProjectSpec>::make([](schema::ProjectSpec::Builder p) {
            p.setName("default");
            p.setDescription("Default LXD project");
            config_map features{{"features.images", "true"},
                                {"features.networks", "true"},
                                {"features.profiles", "true"},
                                {"features.storage.volumes", "true"}};
            fill(p.initConfig(static_cast<unsigned>(features.size())), features);
          })));
  first.writes.push_back(
      put(table::profiles, "default/default", message<schema::ProfileSpec>::make([](schema::ProfileSpec::Builder p) {
            p.setName("default");
            p.setProject("default");
            p.setDescription("Default LXD profile");
          })));
  auto done = db.commit(std::span{&first, 1});
  if (!done.front()) return tl::unexpected{done.front().error()};
  return {};
}

void stop_instances(services& with) {
  log().info("The host goes down: stopping instances");
  caf::scoped_actor asks{with.system};
  asks->request(with.find(role::instances), caf::infinite, stop_waves{})
      .receive([](caf::unit_t) {}, [](const caf::error& why) { log().error("{}", from_caf(why).message); });
}

// SIGTERM, SIGINT, SIGHUP and SIGPWR arrive here and nowhere else; returns when one of them ends the daemon. SIGHUP:
// the files of certificates are read anew. SIGPWR: the host goes down, and the instances before it.
void wait_for_the_end(const sigset_t& signals, tls_listeners& listeners, services& with) {
  int number = 0;
  for (sigwait(&signals, &number); number == SIGHUP; sigwait(&signals, &number)) {
    auto done = listeners.reload();
    done ? log().info("The certificates were read anew") : log().error("{}; the old ones stay", done.error().message);
  }
  if (number == SIGPWR) return stop_instances(with);
  log().info("Signal {}: stopping; instances go on running", number);
}

outcome<void> run(const daemon_config& config, const sigset_t& signals) {
  auto dir = prepare_state_dir(config.directory);
  if (!dir) return tl::unexpected{dir.error()};
  open_log(dir->logs + "/troupe.log", config.debug);
  static_cast<void>(raise_open_files());
  auto faults = fault_points::from_environment();
  if (!faults) return tl::unexpected{faults.error()};
  auto db = store::open(dir->path, host_name());
  if (!db) return tl::unexpected{db.error()};
  if (auto done = make_first_records(**db); !done) return done;

  auto programs = std::filesystem::read_symlink("/proc/self/exe").parent_path().string();
  auto containers = make_lxc_driver({programs + "/troupe-lxc", dir->lxc, "troupe-" + dir->id});
  auto machines =
      make_qemu_driver({programs + "/troupe-qemu", dir->machines, "troupe-" + dir->id, programs + "/troupe-agent"});
  image_store image_files{dir->images, programs + "/troupe-unpack"};
  blocking_pool blocking{blocking_threads_max};
  loop io{"io"};

  caf::actor_system_config actor_config;
  actor_config.set("scheduler.max-threads", actor_threads());
  actor_config.set("scheduler.policy", caf::atom("sharing")); // the default, work stealing, polls when idle
  caf::actor_system system{actor_config};
  services with{system,    io,          blocking,        **db,        *containers,
                *machines, image_files, std::move(*dir), host_name(), subordinate_ids()};
  with.faults = faults->get();
  machines->listen([&with](const machine_news& told) { caf::anon_send(with.find(role::instances), told); });

  blocking_pool sink_threads{sinks_max}; // ends before the actors' system does: its work answers to actors
  tls_listeners listeners{with};
  guest_door guests{with};
  syscall_door syscalls{with};
  transfers moves{with};
  auto root = spawn_supervisor(system, tree(with, sink_threads, listeners, guests, moves));
  std::atomic<bool> gave_up = false; // it fails too often to go on: better a new process than half a daemon
  root->attach_functor([&gave_up](const caf::error& why) {
    if (why == caf::exit_reason::user_shutdown) return;
    gave_up = true;
    kill(getpid(), SIGTERM);
  });
  wait_for_the_parts(system, root);
  outcome<void> listening;
  {
    rest_door door{with, listeners, moves};
    bus_door bus{with, listeners, [&door](const std::string& user, int64_t until) { door.trusts(user, until); }};
    guests.open_for_running();
    listening = door.listen(with.dir.unix_socket);
    if (listening) listening = bus.listen(with.dir.path + "/bus.socket");
    if (listening) {
      listeners.apply();
      observe_log([&with](int level, std::string_view text) {
        if (auto events = with.find(role::events)) caf::anon_send(events, log_line{level, std::string{text}});
      });
      log().info("Serving {}", with.dir.unix_socket);
      notify_ready();
      caf::anon_send(with.find(role::instances), start_waves{});
      drop_start_pages();
      wait_for_the_end(signals, listeners, with);
      notify_stopping();
    }
    door.stop_listening();
    bus.stop_listening();
    guests.stop();
    moves.stop();
    observe_log(nullptr);
  }
  caf::anon_send_exit(root, caf::exit_reason::user_shutdown);
  caf::scoped_actor { system } -> wait_for(root);
  with.forget_all(); // the directory's handles keep dead actors, and the store's thread, in memory
  root = nullptr;
  system.await_all_actors_done();
  if (listening && gave_up) return fail(fault::internal, "The daemon's parts fail too often");
  return listening;
}

} // namespace

int main(int argc, char** argv) {
  tune_allocator();
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  sigaddset(&signals, SIGPWR);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr); // before any thread: all inherit it
  auto config = parse_command_line(argc, argv);
  if (!config) {
    std::cerr << "Error: " << config.error().message << '\n';
    return 2;
  }
  if (!config->say.empty()) {
    std::cout << config->say;
    return 0;
  }
  if (auto done = run(*config, signals); !done) {
    std::cerr << "Error: " << done.error().message << '\n';
    return 1;
  }
  return 0;
}
