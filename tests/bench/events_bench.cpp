// What the event log costs, in one run on one disk: bench_events DIR [EVENTS]. Prints JSON.
// Latency is from the end of the commit to the subscriber's callback, or to the bytes in a websocket client's hands.
// Floors: one synced LMDB transaction with the same bytes; one write of such a frame into a unix socket until it is
// read.

#include "actors/records.hpp"
#include "gateway/door.hpp"
#include "gateway/migration/transfers.hpp"
#include "gateway/rest_door.hpp"
#include "gateway/tls_listeners.hpp"
#include "tests/support/event_stage.hpp"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <deque>
#include <lmdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>

namespace {

using namespace troupe;
using namespace troupe::test;
using clock_type = std::chrono::steady_clock;

double now_us() { return std::chrono::duration<double, std::micro>(clock_type::now().time_since_epoch()).count(); }

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "bench_events: %s\n", why.c_str());
  std::exit(1);
}

std::string line_of(std::vector<double> us) {
  std::sort(us.begin(), us.end());
  char text[200];
  std::snprintf(text, sizeof text, "{\"median_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f, \"n\": %zu}",
                us[us.size() / 2], us[us.size() * 99 / 100], us.back(), us.size());
  return text;
}

void print(const std::string& name, const std::string& value) {
  std::printf("  \"%s\": %s,\n", name.c_str(), value.c_str());
  std::fflush(stdout);
}

// ---- floors

std::vector<double> lmdb_floor(const std::string& path, size_t size, int count) {
  MDB_env* env = nullptr;
  MDB_txn* txn = nullptr;
  MDB_dbi dbi = 0;
  if (mdb_env_create(&env) || mdb_env_set_mapsize(env, size_t{1} << 30) ||
      mdb_env_open(env, path.c_str(), MDB_NOSUBDIR | MDB_NOTLS, 0600) || mdb_txn_begin(env, nullptr, 0, &txn) ||
      mdb_dbi_open(txn, nullptr, 0, &dbi) || mdb_txn_commit(txn))
    give_up("cannot open " + path);
  std::vector<double> us;
  std::string value(size, 'v');
  for (int i = 0; i < count; ++i) {
    auto begin = now_us();
    auto key = event_key(static_cast<uint64_t>(i));
    MDB_val k{key.size(), key.data()}, v{value.size(), value.data()};
    if (mdb_txn_begin(env, nullptr, 0, &txn) || mdb_put(txn, dbi, &k, &v, MDB_APPEND) || mdb_txn_commit(txn))
      give_up("commit");
    us.push_back(now_us() - begin);
  }
  mdb_env_close(env);
  return us;
}

std::vector<double> socket_floor(size_t size, int count) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) give_up("socketpair");
  std::vector<double> us(static_cast<size_t>(count));
  std::atomic<int> seen{0};
  std::vector<double> sent(us.size());
  std::thread reader{[&] {
    std::string buffer(size, ' ');
    for (size_t i = 0; i < us.size(); ++i) {
      for (size_t got = 0; got < size;) got += static_cast<size_t>(::read(ends[1], buffer.data(), size - got));
      us[i] = now_us() - sent[i];
      seen = static_cast<int>(i) + 1;
    }
  }};
  std::string frame(size, 'f');
  for (int i = 0; i < count; ++i) {
    sent[static_cast<size_t>(i)] = now_us();
    if (::write(ends[0], frame.data(), size) != static_cast<ssize_t>(size)) give_up("write");
    while (seen <= i) std::this_thread::yield();
  }
  reader.join();
  ::close(ends[0]);
  ::close(ends[1]);
  return us;
}

// ---- subscribers in the process

struct counter {
  std::atomic<uint64_t> told{0};
  std::vector<double>* us = nullptr; // where to note latencies; the events actor's context only
  const std::atomic<double>* committed = nullptr;
  subscription_ptr events;
};

std::vector<std::unique_ptr<counter>> subscribe(stage& on, size_t count, std::vector<double>* us,
                                                const std::atomic<double>* committed) {
  std::vector<std::unique_ptr<counter>> out;
  for (size_t i = 0; i < count; ++i) {
    auto one = std::make_unique<counter>();
    one->us = us;
    one->committed = committed;
    open_subscription request;
    request.deliver = [to = one.get()](const delivery& what) {
      if (what.what != delivery::kind::event) return;
      if (to->us) to->us->push_back(now_us() - *to->committed);
      ++to->told;
      if (to->us) to->told.notify_one();
    };
    one->events = on.ask<subscription_ptr>(on.events, request);
    one->events->grant(UINT32_MAX);
    out.push_back(std::move(one));
  }
  return out;
}

void wait_until(const std::function<bool()>& holds) {
  while (!holds()) std::this_thread::yield();
}

// As the store actor does it: commit, then tell the events actor.
committed_ptr commit_one(stage& on, const batch& change, std::atomic<double>* at = nullptr) {
  auto done = on.db->commit({&change, 1});
  if (!done.front()) give_up(done.front().error().message);
  if (at) *at = now_us();
  auto told = std::make_shared<const committed>(std::move(*done.front()));
  caf::anon_send(on.events, committed_ptr{told});
  return told;
}

batch events_of(int count) {
  batch out;
  for (int i = 0; i < count; ++i) out.events.push_back(stage::event("c" + std::to_string(i % 10)));
  return out;
}

std::string latency(stage& on, size_t subscribers, int count) {
  std::vector<double> us;
  us.reserve(subscribers * static_cast<size_t>(count));
  std::atomic<double> committed{0};
  auto all = subscribe(on, subscribers, &us, &committed);
  auto change = events_of(1);
  for (int i = 0; i < count; ++i) {
    commit_one(on, change, &committed);
    all.back()->told.wait(static_cast<uint64_t>(i)); // asleep: a spinning thread would take the actor's processor
  }
  return line_of(us);
}

// Through the store actor, so many proposals on their way at once; events/s on disk and in every subscriber's hands.
std::string sustained(stage& on, size_t subscribers, int count) {
  auto all = subscribe(on, subscribers, nullptr, nullptr);
  auto change = std::make_shared<const batch>(events_of(10));
  auto begin = now_us();
  caf::scoped_actor self{on.system};
  std::deque<caf::response_handle<caf::blocking_actor, caf::message, true>> waiting;
  int sent = 0;
  for (; sent < count / 10; ++sent) {
    waiting.push_back(self->request(on.writer, caf::infinite, propose{change}));
    if (waiting.size() < 64) continue;
    waiting.front().receive([](const committed_ptr&) {}, [](caf::error&) { give_up("commit"); });
    waiting.pop_front();
  }
  for (auto& one : waiting) one.receive([](const committed_ptr&) {}, [](caf::error&) { give_up("commit"); });
  auto persisted = now_us();
  wait_until([&] {
    return std::all_of(all.begin(), all.end(),
                       [&](auto& one) { return one->told >= static_cast<uint64_t>(sent) * 10; });
  });
  char text[200];
  std::snprintf(text, sizeof text, "{\"persisted_per_s\": %.0f, \"delivered_per_s\": %.0f, \"n\": %d}",
                sent * 10 / ((persisted - begin) / 1e6), sent * 10 / ((now_us() - begin) / 1e6), sent * 10);
  return text;
}

std::string replay_rate(stage& on) {
  counter one;
  open_subscription request;
  request.start = start_at::beginning;
  request.deliver = [&](const delivery& what) { one.told += what.what == delivery::kind::event; };
  one.events = on.ask<subscription_ptr>(on.events, request);
  auto total = on.db->last_seq();
  auto begin = now_us();
  one.events->grant(UINT32_MAX);
  wait_until([&] { return one.told == total; });
  char text[100];
  std::snprintf(text, sizeof text, "{\"events_per_s\": %.0f, \"n\": %llu}", total / ((now_us() - begin) / 1e6),
                static_cast<unsigned long long>(total));
  return text;
}

// ---- websockets

int connect_websocket(const std::string& path, const std::string& target) {
  int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof address.sun_path, "%s", path.c_str());
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) give_up("connect");
  std::string head = "GET " + target +
                     " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
  if (::write(fd, head.data(), head.size()) != static_cast<ssize_t>(head.size())) give_up("write");
  std::string answer;
  char byte = 0;
  while (answer.find("\r\n\r\n") == answer.npos && ::read(fd, &byte, 1) == 1) answer += byte;
  if (answer.find(" 101 ") == answer.npos) give_up(answer);
  return fd;
}

// Reads whole frames off a socket that has something; how many.
struct frames {
  std::string buffer;
  size_t take(int fd) {
    char bytes[1 << 16];
    auto got = ::read(fd, bytes, sizeof bytes);
    if (got <= 0) give_up("the server closed");
    buffer.append(bytes, static_cast<size_t>(got));
    size_t count = 0, at = 0;
    for (;;) {
      if (buffer.size() - at < 4) break;
      size_t length = static_cast<unsigned char>(buffer[at + 1]), head = 2;
      if (length == 126) {
        length = static_cast<size_t>(static_cast<unsigned char>(buffer[at + 2])) << 8 |
                 static_cast<unsigned char>(buffer[at + 3]);
        head = 4;
      }
      if (buffer.size() - at < head + length) break;
      count += (buffer[at] & 15) == 1;
      at += head + length;
    }
    buffer.erase(0, at);
    return count;
  }
};

std::string websocket_latency(stage& on, const std::string& path, size_t clients, int count) {
  std::vector<pollfd> sockets;
  for (size_t i = 0; i < clients; ++i)
    sockets.push_back({connect_websocket(path, "/1.0/events?type=lifecycle&cursors=1"), POLLIN, 0});
  std::vector<frames> readers(clients);
  for (size_t i = 0; i < clients; ++i) // the bookmark that says: from here on
    while (readers[i].take(sockets[i].fd) == 0) {
    }
  std::vector<double> us;
  auto change = events_of(1);
  std::atomic<double> committed{0};
  for (int i = 0; i < count; ++i) {
    commit_one(on, change, &committed);
    for (size_t got = 0; got < clients;) {
      if (::poll(sockets.data(), sockets.size(), -1) < 0) give_up("poll");
      for (size_t k = 0; k < clients; ++k)
        if (sockets[k].revents != 0)
          for (auto n = readers[k].take(sockets[k].fd); n > 0; --n, ++got) us.push_back(now_us() - committed);
    }
  }
  for (auto& one : sockets) ::close(one.fd);
  return line_of(us);
}

std::string websocket_replay(stage& on, const std::string& path) {
  auto total = on.db->last_seq();
  auto begin = now_us();
  int fd = connect_websocket(path, "/1.0/events?filter=%3E&since=beginning");
  frames reader;
  for (uint64_t got = 0; got < total;) got += reader.take(fd);
  ::close(fd);
  char text[100];
  std::snprintf(text, sizeof text, "{\"events_per_s\": %.0f, \"n\": %llu}", total / ((now_us() - begin) / 1e6),
                static_cast<unsigned long long>(total));
  return text;
}

void open_door(stage& on) {
  on.with->enter(role::rest_door,
                 on.system.spawn([&on](caf::event_based_actor* self) { return door(self, *on.with); }));
}

} // namespace

int main(int argc, char** argv) {
  if (argc < 2) give_up("usage: bench_events DIR [EVENTS]");
  int count = argc > 2 ? std::atoi(argv[2]) : 300'000;
  std::string folder = std::string{argv[1]} + "/bench-events-" + std::to_string(::getpid());
  std::filesystem::create_directories(folder + "/state");
  auto size = stage::event("c1").bytes().size() + 64;
  std::printf("{\n");
  print("floor_lmdb_append", line_of(lmdb_floor(folder + "/floor.mdb", size, 500)));
  print("floor_socket_write", line_of(socket_floor(400, 5000)));
  {
    stage on{0, folder + "/state"};
    on.commit(
        {{},
         {put(table::projects, "default", message<schema::ProjectSpec>::make([](auto p) { p.setName("default"); }))},
         {}});
    for (size_t subscribers : {1, 50, 500})
      print("latency_" + std::to_string(subscribers), latency(on, subscribers, 1000));
    {
      open_door(on);
      tls_listeners listeners{*on.with};
      transfers moves{*on.with};
      rest_door rest{*on.with, listeners, moves};
      auto path = folder + "/socket";
      if (auto listening = rest.listen(path); !listening) give_up(listening.error().message);
      for (size_t clients : {1, 50, 500})
        print("websocket_latency_" + std::to_string(clients), websocket_latency(on, path, clients, 500));
      rest.stop_listening();
    }
    for (size_t subscribers : {0, 1, 50})
      print("sustained_" + std::to_string(subscribers), sustained(on, subscribers, 50'000));
    for (auto left = count - static_cast<int>(on.db->last_seq()); left > 0; left -= 1000)
      commit_one(on, events_of(1000));
    on.stop();
    on.start(); // with nothing in memory
    print("replay", replay_rate(on));
    {
      open_door(on);
      tls_listeners listeners{*on.with};
      transfers moves{*on.with};
      rest_door rest{*on.with, listeners, moves};
      auto path = folder + "/socket";
      if (auto listening = rest.listen(path); !listening) give_up(listening.error().message);
      print("websocket_replay", websocket_replay(on, path));
      rest.stop_listening();
    }
  }
  std::printf("  \"event_bytes\": %zu\n}\n", size);
  std::filesystem::remove_all(folder);
}
