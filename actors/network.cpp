#include "actors/networks.hpp"
#include "actors/warnings.hpp"
#include "runtime/child.hpp"
#include "runtime/process.hpp"

#include <algorithm>
#include <caf/event_based_actor.hpp>
#include <csignal>
#include <filesystem>
#include <fstream>

namespace troupe {
namespace {

struct dnsmasq_ended {
  uint64_t life = 0;
};
struct start_dnsmasq {
  uint64_t life = 0;
};

struct network_data {
  services& with;
  caf::event_based_actor* self;
  std::string name, dir;
  std::optional<bridge_plan> plan;
  std::vector<std::string> command; // of the dnsmasq that runs or shall run
  std::unique_ptr<child> dnsmasq;
  uint64_t life = 0;
  unsigned failures = 0;
};
using network_ptr = std::shared_ptr<network_data>;

constexpr unsigned backoff_max = 6; // doublings of 250 ms

std::string pid_file(const network_data& me) { return me.dir + "/dnsmasq.running"; }

// Who runs is written down, so that a restarted daemon takes it over instead of dropping every lease in flight. Before
// the start already (as process 0): a daemon may be killed before it knows the number.
void write_down(const network_data& me, pid_t pid) {
  auto fresh = pid_file(me) + ".new";
  {
    std::ofstream out{fresh, std::ios::trunc};
    out << pid << ' ' << process_start_time(pid) << '\n';
    for (auto& word : me.command) out << word << '\n';
  }
  std::error_code failed;
  std::filesystem::rename(fresh, pid_file(me), failed);
  if (failed) log().error("Network {}: {}: {}", me.name, pid_file(me), failed.message());
}

struct written_down {
  std::unique_ptr<child> process; // nullptr: it does not run
  std::vector<std::string> command;
};

// What runs for this network, whoever started it.
written_down find_running(const network_data& me, std::function<void()> ended) {
  written_down found;
  std::ifstream in{pid_file(me)};
  pid_t pid = 0;
  uint64_t started = 0;
  std::string rest;
  if (!(in >> pid >> started) || !std::getline(in, rest)) return found;
  for (std::string word; std::getline(in, word);) found.command.push_back(word);
  if (pid == 0) {
    pid = find_process(found.command);
    started = process_start_time(pid);
  }
  if (auto adopted = adopt(me.with.io, pid, started, std::move(ended))) found.process = std::move(*adopted);
  return found;
}

bool take_over(const network_ptr& me, std::function<void()> ended) {
  auto found = find_running(*me, std::move(ended));
  if (!found.process) return false;
  if (found.command != me->command) { // it serves an older plan
    found.process->signal(SIGTERM);
    return false;
  }
  me->dnsmasq = std::move(found.process);
  write_down(*me, me->dnsmasq->pid());
  return true;
}

// Also one that an earlier daemon started, and this actor never saw.
void end_dnsmasq(const network_ptr& me) {
  ++me->life;
  if (!me->dnsmasq) me->dnsmasq = find_running(*me, [] {}).process;
  if (me->dnsmasq) me->dnsmasq->signal(SIGTERM);
  me->dnsmasq.reset();
  std::error_code ignored;
  std::filesystem::remove(pid_file(*me), ignored);
}

void run_dnsmasq(const network_ptr& me) {
  if (me->command.empty()) return end_dnsmasq(me);
  auto life = ++me->life;
  auto actor = caf::actor_cast<caf::actor>(me->self);
  auto ended = [actor, life] { caf::anon_send(actor, dnsmasq_ended{life}); };
  if (take_over(me, ended)) return;
  child_spec spec;
  spec.command = me->command;
  write_down(*me, 0);
  auto started = spawn(me->with.io, spec, [ended](child_exit) { ended(); });
  if (!started) {
    log().error("Network {}: dnsmasq could not be started: {}", me->name, started.error().message);
    raise_warning(me->with, warnings::no_dnsmasq, "default", "/1.0/networks/" + me->name, started.error().message);
    return ended();
  }
  me->dnsmasq = std::move(*started);
  write_down(*me, me->dnsmasq->pid());
}

outcome<bridge_plan> plan_from_record(const network_data& me) {
  auto record = load<schema::NetworkSpec>(me.with.db.read(), table::networks, in_project("default", me.name));
  if (!record) return fail(fault::not_found, "Network not found");
  return plan_bridge(me.name, record->read([](auto n) { return to_map(n.getConfig()); }));
}

struct applied {
  bridge_plan plan;
  std::vector<std::string> command;
};

void apply_now(const network_ptr& me, const std::optional<config_map>& config, sure_promise promise) {
  auto plan = config ? plan_bridge(me->name, *config) : plan_from_record(*me);
  if (!plan) return promise.deliver(to_caf(plan.error()));
  on_blocking_thread(
      me->self, me->with,
      [plan = *plan, dir = me->dir]() -> outcome<applied> {
        std::error_code failed;
        std::filesystem::create_directories(dir, failed);
        if (failed) return fail(fault::backend_failed, "Cannot make " + dir + ": " + failed.message());
        if (auto done = apply_bridge(plan); !done) return tl::unexpected{done.error()};
        auto command = dnsmasq_command(plan, dir);
        if (!command) return tl::unexpected{command.error()};
        return applied{plan, std::move(*command)};
      },
      [me, promise](outcome<applied> done) mutable {
        if (!done) return promise.deliver(to_caf(done.error()));
        me->plan = done->plan;
        if (me->dnsmasq && me->command != done->command) end_dnsmasq(me);
        me->command = std::move(done->command);
        if (!me->dnsmasq) run_dnsmasq(me);
        promise.deliver(caf::unit);
      });
}

void take_down(const network_ptr& me, sure_promise promise) {
  end_dnsmasq(me);
  on_blocking_thread(
      me->self, me->with,
      [name = me->name, dir = me->dir]() -> outcome<void> {
        if (auto done = remove_bridge(name); !done) return done;
        std::error_code ignored;
        std::filesystem::remove_all(dir, ignored);
        return {};
      },
      [promise](outcome<void> done) mutable { answer(promise, done); });
}

void forget(const network_ptr& me, const forget_host& request, sure_promise promise) {
  on_blocking_thread(
      me->self, me->with,
      [dir = me->dir, plan = me->plan, request]() -> outcome<bool> {
        auto hosts = list_dhcp_hosts(dir);
        if (!hosts) return tl::unexpected{hosts.error()};
        bool found = false;
        for (auto& host : *hosts) {
          if (!host.key.starts_with(request.key + ".")) continue;
          found = true;
          if (auto done = remove_dhcp_host(dir, host.key); !done) return tl::unexpected{done.error()};
          if (plan) static_cast<void>(release_lease(*plan, dir, host.hwaddr));
        }
        return found;
      },
      [me, promise](outcome<bool> found) mutable {
        // dnsmasq sees new host files by itself; that one is gone it reads at SIGHUP.
        if (found && *found && me->dnsmasq) me->dnsmasq->signal(SIGHUP);
        promise.deliver(caf::unit);
      });
}

} // namespace
} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::dnsmasq_ended)
TROUPE_LOCAL_MESSAGE(troupe::start_dnsmasq)

namespace troupe {

namespace {

// Host files that a killed daemon had not renamed into place yet. Done before the first message, so nobody writes one.
void sweep_unfinished(const std::string& dir) {
  std::error_code none;
  for (auto& entry : std::filesystem::directory_iterator{dir + "/dnsmasq.hosts", none})
    if (entry.path().filename().string().starts_with('.')) std::filesystem::remove(entry.path(), none);
}

} // namespace

caf::behavior network(caf::event_based_actor* self, services& with, std::string name) {
  auto dir = with.dir.networks + "/" + name;
  auto me = std::make_shared<network_data>(network_data{with, self, std::move(name), std::move(dir), {}, {}, nullptr});
  self->attach_functor([me] { me->dnsmasq.reset(); });
  sweep_unfinished(me->dir);
  return {
      [me](const apply_network& request) -> caf::response_promise {
        auto promise = promise_of(me->self);
        apply_now(me, request.config, promise);
        return promise;
      },
      [me](take_down_network) -> caf::response_promise {
        auto promise = promise_of(me->self);
        take_down(me, promise);
        return promise;
      },
      [me](const announce_host& request) -> caf::response_promise {
        auto promise = promise_of(me->self);
        on_blocking_thread(
            me->self, me->with, [dir = me->dir, host = request.host] { return add_dhcp_host(dir, host); },
            [me, promise](outcome<dhcp_notice> done) mutable {
              if (done && *done == dhcp_notice::sighup && me->dnsmasq) me->dnsmasq->signal(SIGHUP);
              if (done)
                promise.deliver(caf::unit);
              else
                promise.deliver(to_caf(done.error()));
            });
        return promise;
      },
      [me](const forget_host& request) -> caf::response_promise {
        auto promise = promise_of(me->self);
        forget(me, request, promise);
        return promise;
      },
      [me](dnsmasq_ended gone) {
        if (gone.life != me->life) return;
        me->dnsmasq.reset();
        log().warn("Network {}: dnsmasq ended and is started again", me->name);
        raise_warning(me->with, warnings::no_dnsmasq, "default", "/1.0/networks/" + me->name,
                      "dnsmasq ended and is started again");
        auto wait = std::chrono::milliseconds{250} * ((1u << std::min(me->failures++, backoff_max)) - 1);
        me->self->delayed_send(me->self, wait, start_dnsmasq{gone.life});
      },
      [me](start_dnsmasq again) {
        if (again.life == me->life && !me->dnsmasq) run_dnsmasq(me);
      },
      [](resume& back) { back.run(); },
  };
}

} // namespace troupe
