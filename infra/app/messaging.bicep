param name string
param location string
param tags object

@description('False: only a private endpoint reaches the namespace, which needs the dearer tier Premium.')
param public bool

@description('The queues to make.')
param queueNames array

resource namespace 'Microsoft.ServiceBus/namespaces@2024-01-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: public ? 'Standard' : 'Premium'
    tier: public ? 'Standard' : 'Premium'
    capacity: public ? null : 1
  }
  properties: {
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
    publicNetworkAccess: public ? 'Enabled' : 'Disabled'
  }
}

// The lock outlasts SCORE_MESSAGE_BATCH_TIMEOUT (45 s); of single messages the host renews the locks.
resource queues 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = [
  for queue in queueNames: {
    parent: namespace
    name: queue
    properties: {
      lockDuration: 'PT1M'
      maxDeliveryCount: 10
      deadLetteringOnMessageExpiration: true
    }
  }
]

output id string = namespace.id
output name string = namespace.name
output host string = replace(replace(namespace.properties.serviceBusEndpoint, 'https://', ''), ':443/', '')
