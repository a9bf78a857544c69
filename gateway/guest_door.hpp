#pragma once

#include "actors/guest.hpp"
#include "actors/services.hpp"
#include "gateway/guest_events.hpp"
#include "gateway/http_server.hpp"

#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace troupe {

/// The guest API: one socket per running instance, in a folder of its own that the instance sees read-only as /dev/lxd.
/// The socket says which instance it is, and the kernel who there: only its root is let in. An instance that fills its
/// socket with connections keeps no other out. Thread-safe; calls block for a moment.
class guest_door {
public:
  explicit guest_door(services& with);
  ~guest_door();

  /// Idempotent; replaces what listens for that instance already.
  outcome<std::string> open(const open_guest& whom);
  void close(uint64_t id);
  /// After a start of the daemon: for all that run.
  void open_for_running();
  /// Nobody is served any more; `open` is refused from now on. The folders stay: the next daemon uses them again.
  void stop();

private:
  struct resident {
    std::string project, name;
  };
  void serve(http_request request, responder answer);
  std::string folder(uint64_t id) const;
  void leave(const std::string& path);
  void sweep(const std::vector<open_guest>& running);

  services& with_;
  guest_events events_;
  std::mutex changing_;                       // one call of open, close or stop at a time; they wait for the loop
  std::mutex lock_;                           // of residents_; the loop takes it as well
  std::map<std::string, resident> residents_; // by the path of the socket
  std::unique_ptr<http_server> server_;       // made with the first
  bool stopped_ = false;
};

} // namespace troupe
