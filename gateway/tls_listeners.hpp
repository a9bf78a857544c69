#pragma once

#include "actors/services.hpp"
#include "gateway/http_server.hpp"
#include "gateway/tls_identity.hpp"
#include "runtime/listen_address.hpp"

#include <array>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace troupe {

class guest_door;
class transfers;

/// What is served over TLS, each on addresses of its own.
enum class tls_door : uint8_t { https, bus, metrics };
constexpr size_t tls_doors = 3;

/// Where the daemon listens for TLS. As long as the configuration names no address
/// there is nothing: no socket, no certificate, no server. Calls block for a moment (files, the loop): any thread but
/// the loop's, except where said.
class tls_listeners {
public:
  using make_server = std::function<std::unique_ptr<http_server>()>;

  explicit tls_listeners(services& with) : with_{with} {}

  /// Who serves there; called when the first address is listened on.
  void open(tls_door which, make_server make);
  void close(tls_door which); // ends all its connections; nobody listens there any more

  /// Somebody else who serves TLS, by STARTTLS: his clients are cut with ours. Until null is given.
  void cut_also(http_server* local);

  /// Listens there besides where it does already; all or nothing. `key`: whose addresses they are in the configuration.
  /// fault::invalid, in_use, backend_failed.
  outcome<void> listen(std::string_view key, const std::string& addresses);
  /// Listens where the configuration says and nowhere else. What fails is logged.
  void apply();
  /// Reads the files of the identity and the authority anew; clients of another authority than before are cut.
  outcome<void> reload();
  void disconnect(const std::function<bool(const http_peer&)>& whom);

  /// Made with its files, if need be.
  outcome<std::shared_ptr<const tls_identity>> identity();
  /// What GET /1.0 tells; no identity: there is none yet. Waits for nobody, also on the loop's thread.
  struct facts {
    std::shared_ptr<const tls_identity> identity;
    std::vector<listen_address> https;
  };
  facts present() const;

private:
  struct door {
    make_server make;
    std::unique_ptr<http_server> server; // null until there is an address
    std::vector<listen_address> now;
  };

  door& at(tls_door which) { return doors_[static_cast<size_t>(which)]; }
  outcome<void> load_identity();
  outcome<void> begin(door& one);
  outcome<void> add(door& to, const std::vector<listen_address>& wanted);
  void apply(door& to, const std::vector<listen_address>& wanted);
  void publish();
  void cut(const std::function<bool(const http_peer&)>& whom);

  services& with_;
  std::mutex lock_;
  mutable std::mutex present_lock_; // held for a copy only, never while we wait for the loop
  facts present_;
  std::array<door, tls_doors> doors_;
  http_server* local_ = nullptr;
  std::shared_ptr<const tls_identity> identity_;
};

/// The DOORS actor: lets the configuration's saga listen before it commits, and settle after.
/// Listens for instances as well: (open_guest) -> std::string, (close_guest) -> unit; and lets other servers send
/// theirs (instance.receive, instance.settle).
caf::behavior doors(caf::event_based_actor* self, services& with, tls_listeners& listeners, guest_door& guests,
                    transfers& moves);

} // namespace troupe
